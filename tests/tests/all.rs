//! Black-box tests of the whole gateway: real sockets, scripted providers and tool servers, strict readers.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod clouds;
#[cfg(test)]
mod custom;
#[cfg(test)]
mod direct;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod garbled;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod input;
#[cfg(test)]
mod items;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod replicate;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod seeing;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod switch;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod voices;
