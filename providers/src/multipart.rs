//! Forms (`multipart/form-data`): framing only. Finds the few fields that the gateway owns, and replaces them in place.
//!
//! Source: RFC 7578, RFC 2046 section 5.1.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::Malformed;

/// The gateway's own fields of a form. Ranges are byte offsets into the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub model: Option<Field>,
    pub stream: bool,
}

/// A field's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub place: Range<usize>,
    pub text: String,
}

/// Longest value of a field that is read.
const MAX_VALUE_BYTES: usize = 2048;

/// The boundary that a `content-type` names; `None` where it is no form.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    // RFC 2046: 1 to 70 characters.
    (1..=70).contains(&value.len()).then_some(value)
}

impl Form {
    /// Reads a whole form.
    pub fn of(body: &Bytes, boundary: &str) -> Result<Self, Malformed> {
        let delimiter = format!("--{boundary}");
        let mut form = Self::default();
        let mut starts =
            memmem::find_iter(body, delimiter.as_bytes()).filter(|at| delimits(body, *at, delimiter.len()));
        let mut from = starts.next().ok_or_else(|| malformed("a form with the boundary that content-type names"))?;
        let mut ended = false;
        for next in starts {
            let part = from.saturating_add(delimiter.len())..next;
            form.note(body, part)?;
            from = next;
            ended = body.get(next.saturating_add(delimiter.len())..).is_some_and(|rest| rest.starts_with(b"--"));
        }
        if ended { Ok(form) } else { Err(malformed("a form that ends with its boundary")) }
    }

    /// The same form with another model.
    pub fn with_model(&self, body: &Bytes, model: &str) -> Bytes {
        let Some(field) = self.model.as_ref().filter(|field| field.text != model) else { return body.clone() };
        let before = body.get(..field.place.start).unwrap_or_default();
        let after = body.get(field.place.end..).unwrap_or_default();
        [before, model.as_bytes(), after].concat().into()
    }

    fn note(&mut self, body: &Bytes, part: Range<usize>) -> Result<(), Malformed> {
        let bytes = body.get(part.clone()).unwrap_or_default();
        let head = memmem::find(bytes, b"\r\n\r\n")
            .ok_or_else(|| malformed("parts with a blank line behind their headers"))?;
        let name = field_name(bytes.get(..head).unwrap_or_default());
        let value = part.start.saturating_add(head).saturating_add(4)..part.end.saturating_sub(2);
        let text = || {
            let text = body.get(value.clone()).filter(|text| text.len() <= MAX_VALUE_BYTES)?;
            std::str::from_utf8(text).ok()
        };
        match name.as_deref() {
            Some("model") if self.model.is_some() => Err(malformed_at("/model", "a field that is given once")),
            Some("model") => {
                let text = text().filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
                let text = text.ok_or_else(|| malformed_at("/model", "the name of a model"))?.to_owned();
                self.model = Some(Field { place: value, text });
                Ok(())
            }
            Some("stream") => {
                self.stream = text() == Some("true");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Does a delimiter stand here? On a line of its own: what only looks like one is content.
fn delimits(body: &[u8], at: usize, length: usize) -> bool {
    let begins_line = at == 0 || body.get(..at).is_some_and(|before| before.ends_with(b"\r\n"));
    let rest = body.get(at.saturating_add(length)..).unwrap_or_default();
    begins_line && (rest.starts_with(b"--") || rest.trim_ascii_start().len() < rest.len())
}

/// The `name` of a part's `content-disposition`.
fn field_name(head: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let named = line.split(';').find_map(|parameter| parameter.trim().strip_prefix("name="))?;
    Some(named.trim().trim_matches('"').to_owned())
}

fn malformed(expected: &str) -> Malformed {
    malformed_at("", expected)
}

fn malformed_at(pointer: &str, expected: &str) -> Malformed {
    Malformed { pointer: pointer.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF--b1\r\n--b12\r\n--b1\r\n\
        content-disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n--b1\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--b1--\r\n";

    #[test]
    fn the_gateways_fields_are_found_and_replaced_and_the_rest_stays() {
        let body = Bytes::from_static(FORM.as_bytes());
        let form = Form::of(&body, "b1").unwrap();
        assert_eq!((form.model.as_ref().unwrap().text.as_str(), form.stream), ("openai/whisper-1", true));
        let changed = form.with_model(&body, "whisper-1");
        assert_eq!(changed, FORM.replace("openai/whisper-1", "whisper-1"));
        assert_eq!(form.with_model(&body, "openai/whisper-1"), body);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for body in ["", "--b1", "--b1\r\n\r\n", "--b1--", &FORM[..FORM.len() - 8]] {
            assert!(Form::of(&Bytes::copy_from_slice(body.as_bytes()), "b1").is_err(), "{body}");
        }
        let twice = FORM.replacen("name=stream", "name=model", 1);
        assert_eq!(Form::of(&Bytes::from(twice), "b1").unwrap_err().pointer, "/model");
    }

    #[test]
    fn a_boundary_is_read_from_the_content_type() {
        assert_eq!(boundary("multipart/form-data; boundary=x1"), Some("x1"));
        assert_eq!(boundary("Multipart/Form-Data;charset=utf-8; Boundary=\"x y\""), Some("x y"));
        assert_eq!(boundary("multipart/mixed; boundary=x"), None);
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }
}
