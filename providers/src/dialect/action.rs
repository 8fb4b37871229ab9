//! What the URL says, in the dialects whose bodies do not: which model is asked, and in which framing it is to answer.
//!
//! - Google: `POST {base}/models/{model}:generateContent` or `:streamGenerateContent?alt=sse`; on Vertex the same behind
//!   `/projects/{project}/locations/{location}/publishers/google`.
//! - Bedrock: `POST {base}/model/{model}/converse` or `/converse-stream`. The model may be the name of a resource (an ARN), whose
//!   colons and slashes are escaped.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::{bedrock_converse, gemini};
use crate::endpoint::Endpoint;
use crate::scan::{Field, Named, Scan};
use crate::{Dialect, Malformed};

/// Longest name of a model, in bytes: as in a body.
const MAX_NAME_BYTES: usize = 2048;

/// The operation that a URL names, as far as it is one of chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// Whose URL it is.
    pub dialect: Dialect,
    /// Without what stands before it, percent-decoded. May hold a provider: `openai/gpt-4o`.
    pub model: Cow<'a, str>,
    /// Is the answer to be a stream?
    pub stream: bool,
    /// Google's stream is server-sent events (`alt=sse`). Otherwise it is one JSON array, an element at a time. Of no meaning to
    /// the others, which have one framing.
    pub sse: bool,
}

/// How a dialect spells an operation.
struct Spelling {
    dialect: Dialect,
    /// The collection that the model's name follows.
    collection: &'static str,
    separator: char,
    whole: &'static str,
    streamed: &'static str,
    /// What asks for the framing that this crate reads.
    query: &'static str,
}

const SPELLINGS: &[Spelling] = &[
    Spelling {
        dialect: Dialect::Gemini,
        collection: "models/",
        separator: ':',
        whole: "generateContent",
        streamed: "streamGenerateContent",
        query: "?alt=sse",
    },
    Spelling {
        dialect: Dialect::BedrockConverse,
        collection: "model/",
        separator: '/',
        whole: "converse",
        streamed: "converse-stream",
        query: "",
    },
];

impl<'a> Action<'a> {
    /// Reads the path, from behind its first `models/` (Bedrock: `model/`) on, and the query. `None` where the operation is another
    /// (`countTokens`) or there is none, and where the model's name is no UTF-8.
    pub fn parse(path: &'a str, query: Option<&str>) -> Option<Self> {
        let (spelling, model, stream) = SPELLINGS.iter().find_map(|spelling| {
            let (model, operation) = path.rsplit_once(spelling.separator)?;
            let is = |name| operation == name;
            (is(spelling.whole) || is(spelling.streamed)).then(|| (spelling, model, is(spelling.streamed)))
        })?;
        let model = model.split_once(spelling.collection).map_or(model, |(_, model)| model);
        let model = percent_decode_str(model.trim_start_matches('/')).decode_utf8().ok()?;
        let sse = query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse");
        (!model.is_empty()).then_some(Self { dialect: spelling.dialect, model, stream, sse })
    }

    /// Scans the body of a request to this URL. `model` is the URL's: where the body does not name it too, its field is empty,
    /// and replacing it changes nothing. What else a scan looks for is found under the dialect's own names.
    pub fn scan(&self, body: &Bytes) -> Result<Scan, Malformed> {
        let mut scan = Scan::of(body)?;
        let name = self.model.clone().into_owned();
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let expected = format!("a model of at most {MAX_NAME_BYTES} bytes without control characters in the URL");
            return Err(Malformed { pointer: String::new(), expected });
        }
        let field = scan.model.take().map_or(Field { entry: 0..0, value: 0..0 }, |model| model.field);
        scan.model = Some(Named { field, name });
        scan.stream = self.stream;
        match self.dialect {
            Dialect::BedrockConverse => bedrock_converse::hint(body, &mut scan)?,
            _ => gemini::hint(body, &mut scan)?,
        }
        Ok(scan)
    }
}

/// A model's name as one path segment: whatever would end it is escaped.
pub(crate) fn escaped(model: &str) -> String {
    percent_encoding::utf8_percent_encode(model, SEGMENT).to_string()
}

/// The name of the operation, with the query that asks for the framing that this crate reads; empty where a URL names none.
pub(crate) fn operation(endpoint: Endpoint, stream: bool) -> String {
    let spelling = SPELLINGS.iter().find(|spelling| Endpoint::chat(spelling.dialect) == endpoint);
    spelling.map_or_else(String::new, |spelling| {
        if stream { format!("{}{}", spelling.streamed, spelling.query) } else { spelling.whole.to_owned() }
    })
}

/// All but what RFC 3986 leaves free in a path segment (`pchar`), less the colon, which ends the name at Google.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Splice;

    #[test]
    fn the_url_names_model_operation_and_framing() {
        for (path, query, model, stream, sse) in [
            ("/v1beta/models/gemini-2.5-flash:generateContent", None, "gemini-2.5-flash", false, false),
            (
                "/genai/v1beta/models/openai/gpt-4o:streamGenerateContent",
                Some("alt=sse&key=x"),
                "openai/gpt-4o",
                true,
                true,
            ),
            ("models/openai%2Fgpt-4o:streamGenerateContent", Some("x=alt=sse"), "openai/gpt-4o", true, false),
            ("gemini-3:generateContent", None, "gemini-3", false, false),
            ("/v1/projects/p/locations/l/publishers/google/models/g:generateContent", None, "g", false, false),
            ("/v1beta/models/ollama/llama3:8b:generateContent", None, "ollama/llama3:8b", false, false),
        ] {
            let action = Action::parse(path, query).unwrap();
            assert_eq!(action.dialect, Dialect::Gemini);
            assert_eq!((action.model.as_ref(), action.stream, action.sse), (model, stream, sse), "{path}");
        }
        for path in ["/v1beta/models/g:countTokens", "/v1beta/models/g", "/v1beta/models/:generateContent", ""] {
            assert_eq!(Action::parse(path, None), None, "{path}");
        }
    }

    #[test]
    fn the_url_of_bedrock_names_model_and_framing() {
        for (path, model, stream) in [
            ("/model/amazon.nova-lite-v1%3A0/converse", "amazon.nova-lite-v1:0", false),
            (
                "/bedrock/model/us.anthropic.claude-haiku-4-5-20251001-v1:0/converse-stream",
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                true,
            ),
            (
                "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse",
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.x",
                false,
            ),
            ("/model/openai/gpt-4o/converse", "openai/gpt-4o", false),
        ] {
            let action = Action::parse(path, None).unwrap();
            assert_eq!(action.dialect, Dialect::BedrockConverse);
            assert_eq!((action.model.as_ref(), action.stream), (model, stream), "{path}");
        }
        for path in ["/model/m/invoke", "/model//converse", "/model/m/converse/more"] {
            assert_eq!(Action::parse(path, None), None, "{path}");
        }
    }

    #[test]
    fn a_model_is_one_segment_whatever_its_name() {
        assert_eq!(escaped("gemini-2.5-flash"), "gemini-2.5-flash");
        let hostile = escaped("../a/b?key=1#:x");
        assert_eq!(hostile, "..%2Fa%2Fb%3Fkey%3D1%23%3Ax");
        for (dialect, path) in [
            (Dialect::Gemini, format!("models/{hostile}:streamGenerateContent?alt=sse")),
            (Dialect::BedrockConverse, format!("model/{hostile}/converse-stream")),
        ] {
            assert!(path.ends_with(&operation(Endpoint::chat(dialect), true)), "{path}");
            let action = Action::parse(path.split('?').next().unwrap(), None).unwrap();
            assert_eq!((action.dialect, action.model.as_ref()), (dialect, "../a/b?key=1#:x"));
        }
    }

    fn scan(url: &str, body: &'static str) -> Result<Scan, Malformed> {
        Action::parse(url, Some("alt=sse")).unwrap().scan(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_url_says_model_and_stream_and_the_body_the_rest() {
        const GOOGLES: &str =
            r#"{"contents":[{}], "tools":[{}], "generationConfig":{"candidateCount":2,"maxOutputTokens":"9"}}"#;
        const BEDROCKS: &str = r#"{"messages":[{}], "toolConfig":{"tools":[{}]}, "inferenceConfig":{"maxTokens":9}}"#;
        for (url, given, n) in [
            ("models/openai/gpt:streamGenerateContent", GOOGLES, Some(2)),
            ("model/openai/gpt/converse-stream", BEDROCKS, None),
        ] {
            let scan = scan(url, given).unwrap();
            let model = scan.model.unwrap();
            assert_eq!((model.name.as_str(), scan.stream, scan.has_tools), ("openai/gpt", true, true));
            assert_eq!((scan.n, scan.max_tokens), (n, Some(9)));
            assert_eq!(&given[scan.messages.unwrap().value], "[{}]");
            let body = Bytes::from_static(given.as_bytes());
            let mut splice = Splice::new(&body);
            splice.replace_text(&model.field, "other");
            assert_eq!(splice.build(), given, "there is nothing to replace");
        }
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
        for (url, body, pointer) in [
            ("models/a:generateContent", r#"{"generationConfig":7}"#, "/generationConfig"),
            ("model/a/converse", r#"{"inferenceConfig":7}"#, "/inferenceConfig"),
        ] {
            assert_eq!(scan(url, body).unwrap_err().pointer, pointer);
        }
        assert!(scan("models/a%0Ab:generateContent", "{}").unwrap_err().expected.contains("control"));
        assert!(scan("models/a:generateContent", "{}").unwrap().messages.is_none());
        assert!(!scan("model/a/converse", r#"{"toolConfig":{"tools":[]}}"#).unwrap().has_tools);
    }
}
