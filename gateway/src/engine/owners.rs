//! Remembers who keeps what: the provider, and the key, of every stored response, file and batch that passed to a caller.
//!
//! Such a thing exists in one account only, and its id does not say in which. What is written here is read when its caller
//! comes back with the id: alone (`/v1/files/{id}`, [`super::verbatim`]) or in a request that continues a response
//! ([`super::sequel`]). An id that is not on record is no fault: it goes where its caller says.

use std::fmt::Debug;
use std::mem::size_of;
use std::sync::Arc;
use std::time::Duration;

use bifrost_providers::chat::Message;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::execute::Done;
use super::journal;

/// One thing that a provider keeps.
#[derive(Clone, Debug)]
pub struct Owned {
    pub provider: Arc<str>,
    /// The id of the key whose account has it.
    pub key: String,
    /// What the provider calls it. The client of a stream knows a reply by its first turn, its provider all of it by the last.
    pub id: String,
    /// What the reply went on to say and do, of which the provider knows nothing: results of tools, mostly. It belongs in front
    /// of whatever continues the reply.
    pub since: Vec<Message>,
}

/// Where owners are on record. `caller` keeps those of one caller apart from those of others: an id alone opens nothing.
pub trait Owners: Send + Sync + Debug {
    fn keep(&self, caller: &str, id: &str, owned: Arc<Owned>);
    fn find(&self, caller: &str, id: &str) -> Option<Arc<Owned>>;
}

/// Puts on record what has just been seen at this place. What is known of it there already is more, and stays.
pub fn seen(owners: &dyn Owners, caller: &str, owned: Owned) {
    let known = owners.find(caller, &owned.id);
    if known.is_none_or(|known| (&known.provider, &known.key) != (&owned.provider, &owned.key)) {
        let id = owned.id.clone();
        owners.keep(caller, &id, Arc::new(owned));
    }
}

/// What providers keep of one reply while it grows, turn after turn.
#[derive(Debug, Default)]
pub struct Trail {
    /// The id of the first turn, by which the client of a stream knows the reply.
    first: Option<String>,
    /// The latest turn that a provider keeps, and with it all turns before.
    latest: Option<Owned>,
    /// Does the provider of the turn under way keep it?
    is_kept: bool,
}

// === impl Trail ===

impl Trail {
    /// A turn begins; `kept`, where its provider keeps it.
    pub fn begin(&mut self, kept: Option<Owned>) {
        self.is_kept = kept.is_some();
        self.latest = kept.or(self.latest.take());
    }

    /// The turn's own words, which `turn` makes.
    pub fn said(&mut self, turn: impl FnOnce() -> Message) {
        if let Some(latest) = self.latest.as_mut().filter(|_| !self.is_kept) {
            latest.since.push(turn());
        }
    }

    /// What tools said to it.
    pub fn ran(&mut self, done: &[Done]) {
        if let Some(latest) = &mut self.latest {
            latest.since.extend(done.iter().map(Done::message));
        }
    }

    /// The turn is over: whoever continues the reply, by the id of this turn or of the first, continues from here.
    pub fn end(&mut self, id: &str, owners: &dyn Owners, caller: &str) {
        let first = self.first.get_or_insert_with(|| id.to_owned());
        let Some(latest) = &self.latest else { return };
        let owned = Arc::new(latest.clone());
        if first != id {
            owners.keep(caller, first, owned.clone());
        }
        owners.keep(caller, id, owned);
    }
}

/// How long an unused entry stays: as long as OpenAI keeps responses
/// (<https://platform.openai.com/docs/guides/conversation-state>), and a batch may take.
const LIFETIME: Duration = Duration::from_hours(30 * 24);
/// Bound on what is kept, in bytes: some hundred thousand things, or fewer where tools had much to say.
const CAPACITY_BYTES: u64 = 64 << 20;

/// In the memory of this process.
#[derive(Debug)]
pub struct MemoryOwners {
    /// By caller and id.
    things: Cache<(String, String), Arc<Owned>>,
}

impl Default for MemoryOwners {
    fn default() -> Self {
        let things = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(|(caller, id): &(String, String), owned: &Arc<Owned>| {
                u32::try_from(caller.len() + id.len() + weight(owned)).unwrap_or(u32::MAX)
            })
            .time_to_idle(LIFETIME)
            // The default policy may turn away what is new, which here is what will be asked for.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { things }
    }
}

impl Owners for MemoryOwners {
    fn keep(&self, caller: &str, id: &str, owned: Arc<Owned>) {
        self.things.insert((caller.to_owned(), id.to_owned()), owned);
    }

    fn find(&self, caller: &str, id: &str) -> Option<Arc<Owned>> {
        self.things.get(&(caller.to_owned(), id.to_owned()))
    }
}

fn weight(owned: &Owned) -> usize {
    let told = if owned.since.is_empty() { 0 } else { journal::weight(&owned.since) };
    size_of::<Owned>() + owned.key.len() + owned.id.len() + told
}

#[cfg(test)]
mod tests {
    use bifrost_providers::chat::{Part, PartKind};

    use super::super::agent::assistant;
    use super::*;

    fn owned(key: &str, id: &str) -> Owned {
        Owned { provider: "openai".into(), key: key.into(), id: id.into(), since: Vec::new() }
    }

    fn words() -> Message {
        assistant(vec![Part::from(PartKind::Text("said".into()))])
    }

    /// Key, id and how much came since, of what a caller finds.
    fn found(owners: &MemoryOwners, caller: &str, id: &str) -> Option<(String, String, usize)> {
        owners.find(caller, id).map(|owned| (owned.key.clone(), owned.id.clone(), owned.since.len()))
    }

    #[test]
    fn a_thing_is_found_by_the_caller_that_it_passed_to_and_by_nobody_else() {
        let owners = MemoryOwners::default();
        seen(&owners, "vk-a", owned("k1", "file-1"));
        assert_eq!(found(&owners, "vk-a", "file-1"), Some(("k1".into(), "file-1".into(), 0)));
        for (caller, id) in [("vk-b", "file-1"), ("", "file-1"), ("vk-a", "file-2"), ("vk-", "afile-1")] {
            assert_eq!(found(&owners, caller, id), None, "{caller:?} {id}");
        }
    }

    #[test]
    fn what_is_seen_again_adds_nothing_and_what_is_seen_elsewhere_has_moved() {
        let owners = MemoryOwners::default();
        owners.keep("vk", "r1", Arc::new(Owned { since: vec![words()], ..owned("k1", "r2") }));
        seen(&owners, "vk", owned("k1", "r1"));
        assert_eq!(found(&owners, "vk", "r1"), Some(("k1".into(), "r2".into(), 1)));
        seen(&owners, "vk", owned("k2", "r1"));
        assert_eq!(found(&owners, "vk", "r1"), Some(("k2".into(), "r1".into(), 0)));
    }

    #[test]
    fn a_reply_of_several_turns_is_continued_from_its_last_by_either_name() {
        let owners = MemoryOwners::default();
        let mut trail = Trail::default();
        trail.begin(Some(owned("k1", "r1")));
        trail.said(words);
        trail.end("r1", &owners, "vk");
        assert_eq!(found(&owners, "vk", "r1"), Some(("k1".into(), "r1".into(), 0)), "its provider knows its words");
        trail.begin(Some(owned("k2", "r2")));
        trail.end("r2", &owners, "vk");
        for id in ["r1", "r2"] {
            assert_eq!(found(&owners, "vk", id), Some(("k2".into(), "r2".into(), 0)), "{id}");
        }
        // Another provider answers, which keeps nothing.
        trail.begin(None);
        trail.said(words);
        trail.end("msg_3", &owners, "vk");
        for id in ["r1", "msg_3"] {
            assert_eq!(found(&owners, "vk", id), Some(("k2".into(), "r2".into(), 1)), "{id}");
        }
    }

    #[test]
    fn a_reply_that_nobody_keeps_is_nobodys() {
        let owners = MemoryOwners::default();
        let mut trail = Trail::default();
        trail.begin(None);
        trail.said(words);
        trail.end("chatcmpl-1", &owners, "vk");
        assert_eq!(found(&owners, "vk", "chatcmpl-1"), None);
    }

    #[test]
    fn much_is_weighed_so_that_it_can_be_bounded() {
        let text = "x".repeat(100_000);
        let long = assistant(vec![Part::from(PartKind::Text(text.as_str().into()))]);
        assert!(weight(&Owned { since: vec![long], ..owned("k", "r") }) > 100_000);
        assert!(weight(&owned("k", "r")) < 1_000);
    }
}
