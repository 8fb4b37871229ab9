//! The guard as a program of its own, the way the gateway's hidden subcommand runs it; the tests of this crate use it.

fn main() -> std::process::ExitCode {
    let code = bifrost_mcp::guard::run(std::env::args_os().skip_while(|argument| argument != "--").skip(1));
    std::process::ExitCode::from(u8::try_from(code).unwrap_or(1))
}
