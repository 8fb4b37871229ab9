//! Whether the request was what the demo is there to show.

use crate::stream::{Account, Tokens};

/// All that is known of a finished request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) model: String,
    pub(crate) simulated: bool,
    pub(crate) seconds: f64,
    pub(crate) first_content_seconds: Option<f64>,
    pub(crate) account: Account,
    pub(crate) tokens: Option<Tokens>,
    /// Characters of answer after the last tool call.
    pub(crate) answer: usize,
    pub(crate) finish: Option<String>,
    pub(crate) error: Option<String>,
    /// The stream ended as a complete one does.
    pub(crate) done: bool,
}

/// Judgement of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Tools were run, the model saw what they answered, and it wrote an answer.
    LoopRan,
    Failed(String),
}

impl Verdict {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let account = &outcome.account;
        let reason = match outcome {
            Outcome { error: Some(error), .. } => error.clone(),
            Outcome { done: false, .. } => "the stream broke off before its end".into(),
            _ if account.calls == 0 => format!("{} answered without calling a tool", outcome.model),
            _ if account.failed == account.calls => "every tool call failed".into(),
            _ if account.turns < 2 => "the model was not asked again after the tool calls".into(),
            _ if account.stopped.is_some() => {
                format!("the loop was ended by a limit: {}", account.stopped.as_deref().unwrap_or_default())
            }
            Outcome { answer: 0, .. } => "there was no answer after the tool calls".into(),
            Outcome { tokens: None, .. } => "the stream reported no tokens".into(),
            _ => return Self::LoopRan,
        };
        Self::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        Outcome {
            model: "m".into(),
            account: Account { turns: 3, calls: 3, failed: 0, stopped: None },
            tokens: Some(Tokens::default()),
            answer: 10,
            done: true,
            ..Outcome::default()
        }
    }

    #[test]
    fn only_a_whole_loop_with_an_answer_passes() {
        assert_eq!(Verdict::of(&good()), Verdict::LoopRan);
        let with = |account: Account| Outcome { account, ..good() };
        let bad = [
            (Outcome { error: Some("down".into()), ..good() }, "down"),
            (Outcome { done: false, ..good() }, "broke off"),
            (with(Account::default()), "without calling a tool"),
            (with(Account { turns: 2, calls: 1, failed: 1, stopped: None }), "every tool call failed"),
            (with(Account { turns: 1, calls: 1, failed: 0, stopped: None }), "not asked again"),
            (with(Account { turns: 2, calls: 1, failed: 0, stopped: Some("max_tool_calls".into()) }), "max_tool_calls"),
            (Outcome { answer: 0, ..good() }, "no answer"),
            (Outcome { tokens: None, ..good() }, "no tokens"),
        ];
        for (outcome, expected) in bad {
            let Verdict::Failed(reason) = Verdict::of(&outcome) else { panic!("passed, not {expected}") };
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
