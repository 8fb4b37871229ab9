//! What the gateway reads of a request in this dialect: as [`Scan::of`], with what the URL says, and under this dialect's names.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Action;
use super::wire::whole;
use crate::Malformed;
use crate::json::{self, wire};
use crate::scan::{Field, Named, Scan};

/// Longest name of a model, in bytes: as in a body.
const MAX_NAME_BYTES: usize = 2048;

wire! {
    struct HintsWire<'a> {
        "contents" => contents: &'a RawValue,
        "generationConfig" | "generation_config" => config: ConfigHintsWire<'a>,
    }
}

wire! {
    struct ConfigHintsWire<'a> {
        "candidateCount" | "candidate_count" => candidates: &'a RawValue,
        "maxOutputTokens" | "max_output_tokens" => max_tokens: &'a RawValue,
    }
}

impl Action<'_> {
    /// Scans the body of a request to this URL. `model` is the URL's: where the body does not name it too, its field is empty,
    /// and replacing it changes nothing. `messages` are the contents.
    pub fn scan(&self, body: &Bytes) -> Result<Scan, Malformed> {
        let mut scan = Scan::of(body)?;
        let name = self.model.clone().into_owned();
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let expected = format!("a model of at most {MAX_NAME_BYTES} bytes without control characters in the URL");
            return Err(Malformed { pointer: String::new(), expected });
        }
        let hints: HintsWire<'_> = json::decode(body)?;
        let config = hints.config.unwrap_or_default();
        let field = scan.model.take().map_or(Field { entry: 0..0, value: 0..0 }, |model| model.field);
        scan.model = Some(Named { field, name });
        scan.stream = self.stream;
        scan.messages = hints.contents.map(|contents| place(contents, body));
        scan.n = config.candidates.and_then(whole);
        scan.max_tokens = config.max_tokens.and_then(whole);
        Ok(scan)
    }
}

/// Where a value stands in the body it was read from.
fn place(value: &RawValue, body: &Bytes) -> Field {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    let value = start..start + value.get().len();
    Field { entry: value.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Splice;

    fn scan(url: &str, body: &'static str) -> Result<Scan, Malformed> {
        Action::parse(url, Some("alt=sse")).unwrap().scan(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_url_says_model_and_stream_and_the_body_the_rest() {
        const BODY: &str =
            r#"{"contents":[{}], "tools":[{}], "generationConfig":{"candidateCount":2,"maxOutputTokens":"9"}}"#;
        let scan = scan("models/openai/gpt:streamGenerateContent", BODY).unwrap();
        let model = scan.model.unwrap();
        assert_eq!((model.name.as_str(), scan.stream, scan.has_tools), ("openai/gpt", true, true));
        assert_eq!((scan.n, scan.max_tokens), (Some(2), Some(9)));
        assert_eq!(&BODY[scan.messages.unwrap().value], "[{}]");
        let body = Bytes::from_static(BODY.as_bytes());
        let mut splice = Splice::new(&body);
        splice.replace_text(&model.field, "other");
        assert_eq!(splice.build(), BODY, "there is nothing to replace");
    }

    #[test]
    fn a_body_that_names_the_model_is_changed_with_it() {
        const BODY: &str = r#"{"model":"models/a","contents":[]}"#;
        let scan = scan("models/a:generateContent", BODY).unwrap();
        let body = Bytes::from_static(BODY.as_bytes());
        let mut splice = Splice::new(&body);
        splice.replace_text(&scan.model.unwrap().field, "b");
        assert_eq!(splice.build(), r#"{"model":"b","contents":[]}"#);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(scan("models/a:generateContent", "[]").is_err());
        assert_eq!(
            scan("models/a:generateContent", r#"{"generationConfig":7}"#).unwrap_err().pointer,
            "/generationConfig"
        );
        assert!(scan("models/a%0Ab:generateContent", "{}").unwrap_err().expected.contains("control"));
        assert!(scan("models/a:generateContent", "{}").unwrap().messages.is_none());
    }
}
