//! What the URL says: which model is asked for what, and in which framing.
//!
//! `POST {base}/models/{model}:generateContent` or `:streamGenerateContent?alt=sse`; on Vertex the same behind
//! `/projects/{project}/locations/{location}/publishers/google`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The operation that a URL names, as far as it is one of chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// Without `models/`, percent-decoded. May hold a provider: `openai/gpt-4o`.
    pub model: Cow<'a, str>,
    /// `streamGenerateContent`.
    pub stream: bool,
    /// The stream is server-sent events (`alt=sse`). Otherwise it is one JSON array, an element at a time.
    pub sse: bool,
}

impl<'a> Action<'a> {
    /// Reads the path, from behind its last `models/` on, and the query. `None` where the operation is another (`countTokens`)
    /// or there is none, and where the model's name is no UTF-8.
    pub fn parse(path: &'a str, query: Option<&str>) -> Option<Self> {
        let (model, operation) = path.rsplit_once(':')?;
        let stream = match operation {
            "generateContent" => false,
            "streamGenerateContent" => true,
            _ => return None,
        };
        let model = model.split_once("models/").map_or(model, |(_, model)| model);
        let model = percent_decode_str(model.trim_start_matches('/')).decode_utf8().ok()?;
        let sse = query.unwrap_or_default().split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse");
        (!model.is_empty()).then_some(Self { model, stream, sse })
    }

    /// A model's name as one path segment: whatever would end it is escaped.
    pub fn escaped(model: &str) -> String {
        percent_encoding::utf8_percent_encode(model, SEGMENT).to_string()
    }

    /// The name of the operation, with the query that asks for server-sent events.
    pub fn operation(stream: bool) -> &'static str {
        if stream { "streamGenerateContent?alt=sse" } else { "generateContent" }
    }
}

/// All but what RFC 3986 leaves free in a path segment (`pchar`), less the colon, which ends the name here.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!((action.model.as_ref(), action.stream, action.sse), (model, stream, sse), "{path}");
        }
        for path in ["/v1beta/models/g:countTokens", "/v1beta/models/g", "/v1beta/models/:generateContent", ""] {
            assert_eq!(Action::parse(path, None), None, "{path}");
        }
    }

    #[test]
    fn a_model_is_one_segment_whatever_its_name() {
        assert_eq!(Action::escaped("gemini-2.5-flash"), "gemini-2.5-flash");
        let hostile = Action::escaped("../a/b?key=1#:x");
        assert_eq!(hostile, "..%2Fa%2Fb%3Fkey%3D1%23%3Ax");
        let path = format!("models/{hostile}:streamGenerateContent");
        assert_eq!(Action::parse(&path, Some("alt=sse")).unwrap().model, "../a/b?key=1#:x");
    }
}
