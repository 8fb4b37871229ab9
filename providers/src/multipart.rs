//! Forms (`multipart/form-data`): framing only. A form is read as it comes, so that it can go on before all of it is here; the
//! few fields that the gateway owns are found on the way, and replaced in place.
//!
//! Source: RFC 7578, RFC 2046 section 5.1. `multer` and its like hand out decoded fields; what is needed here is where they stand,
//! so that every other byte stays as it came.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::Malformed;

/// What is known of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// In the order in which they came; the last may still be coming.
    pub parts: Vec<Part>,
}

/// A field or a file. Ranges are byte offsets into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub is_file: bool,
    /// Where its delimiter begins.
    pub start: usize,
    /// From the first byte behind the headers to the last before the delimiter, so far.
    pub value: Range<usize>,
    /// The value, where it is a whole text of a field that is not too long.
    pub text: Option<String>,
}

/// Reads a form piece by piece, however it is cut. Holds no more of it than a part's headers, or the value of a short field.
#[derive(Debug)]
pub struct FormReader {
    /// With the line break in front, which belongs to it.
    delimiter: memmem::Finder<'static>,
    /// What has come and is not understood yet. The form's own first delimiter lacks its line break, which stands here.
    rest: Vec<u8>,
    /// How much of `rest` is done with.
    done: usize,
    /// Where `rest` begins, counted from the line break that was put in front of the form.
    base: usize,
    place: Place,
    form: Form,
    /// Where the last delimiter was found, counted as `base` is.
    delimited: usize,
    value: Vec<u8>,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Preamble,
    Head,
    Value,
    Epilogue,
}

/// Longest value of a field that is read.
const MAX_VALUE_BYTES: usize = 2048;
/// Longest headers of a part: several times what any client sends.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most parts of a form: several times the sixteen pictures of the largest one.
const MAX_PARTS: usize = 256;

const LINE_BREAK: &[u8] = b"\r\n";
const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Does a `content-type` announce a form?
pub fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// The boundary that a form's `content-type` names; `None` where there is none, or no form.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (_, parameters) = content_type.split_once(';').filter(|_| is_form(content_type))?;
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    // RFC 2046: 1 to 70 characters.
    (1..=70).contains(&value.len()).then_some(value)
}

/// A stretch of a body that lies in pieces. Nothing is copied.
pub fn slice(pieces: &[Bytes], range: &Range<usize>) -> Vec<Bytes> {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in pieces {
        let end = start + piece.len();
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            found.push(piece.slice(from - start..to - start));
        }
        start = end;
    }
    found
}

// === impl Form ===

impl Form {
    /// Reads a whole form.
    pub fn of(body: &[u8], boundary: &str) -> Result<Self, Malformed> {
        let mut reader = FormReader::new(boundary);
        reader.push(body)?;
        reader.finish()?;
        Ok(reader.form)
    }

    /// The field or file of this name that came first.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The text of a field; `None` where it is not there, too long, or not all of it has come.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.part(name)?.text.as_deref()
    }

    /// The model that it names.
    pub fn model(&self) -> Option<&str> {
        self.text(MODEL)
    }

    /// Does it ask for a stream?
    pub fn stream(&self) -> bool {
        self.text("stream") == Some("true")
    }

    /// The same body with another model.
    pub fn with_model(&self, pieces: &[Bytes], model: &str) -> Vec<Bytes> {
        let Some(part) = self.part(MODEL).filter(|part| part.text.as_deref() != Some(model)) else {
            return pieces.to_vec();
        };
        let mut changed = slice(pieces, &(0..part.value.start));
        changed.push(Bytes::copy_from_slice(model.as_bytes()));
        changed.extend(slice(pieces, &(part.value.end..usize::MAX)));
        changed
    }
}

/// The field that names the model.
const MODEL: &str = "model";

// === impl FormReader ===

impl FormReader {
    pub fn new(boundary: &str) -> Self {
        let delimiter = memmem::Finder::new(&format!("\r\n--{boundary}")).into_owned();
        let place = Place::Preamble;
        let (rest, form, value) = (LINE_BREAK.to_vec(), Form::default(), Vec::new());
        Self { delimiter, rest, done: 0, base: 0, place, form, delimited: 0, value }
    }

    /// What is known so far.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Is a file under way? All fields in front of it are known by then.
    pub fn is_in_file(&self) -> bool {
        self.place == Place::Value && self.form.parts.last().is_some_and(|part| part.is_file)
    }

    /// Reads the next piece. Malformed where it is no form, or one that says its model twice: what of it is read first is not
    /// for the gateway and a provider to disagree on.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.rest.extend_from_slice(bytes);
        while match self.place {
            Place::Preamble | Place::Value => self.read_value()?,
            Place::Head => self.read_head()?,
            Place::Epilogue => {
                self.advance(usize::MAX);
                false
            }
        } {}
        self.rest.drain(..self.done);
        self.base += self.done;
        self.done = 0;
        Ok(())
    }

    /// Nothing more comes.
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.place {
            Place::Preamble => Err(malformed("", "a form with the boundary that content-type names")),
            Place::Head | Place::Value => Err(malformed("", "a form that ends with its boundary")),
            Place::Epilogue => Ok(()),
        }
    }

    /// Up to the next delimiter. False where more has to come first.
    fn read_value(&mut self) -> Result<bool, Malformed> {
        let length = self.delimiter.needle().len();
        let Some(at) = self.delimiter.find(self.pending()) else {
            // Its beginning may stand at the end.
            self.advance(self.pending().len().saturating_sub(length - 1));
            return Ok(false);
        };
        self.advance(at);
        let ends = match self.pending().get(length..) {
            Some([b'-', b'-', ..]) => true,
            Some([next, _, ..]) if next.is_ascii_whitespace() => false,
            Some([_, _, ..]) => {
                // What only looks like one is content.
                self.advance(1);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        match self.place {
            Place::Preamble if ends => return Err(malformed("", "a form with parts")),
            Place::Preamble => {}
            _ => self.end_part()?,
        }
        self.delimited = self.base + self.done;
        self.place = if ends { Place::Epilogue } else { Place::Head };
        self.advance(length);
        Ok(true)
    }

    /// The headers of a part, from behind its delimiter.
    fn read_head(&mut self) -> Result<bool, Malformed> {
        let pending = self.pending();
        let blank = memmem::find(pending, BLANK_LINE);
        let head = pending.get(..blank.unwrap_or(pending.len())).unwrap_or_default();
        if head.len() > MAX_HEAD_BYTES || self.delimiter.find(head).is_some() {
            return Err(malformed("", "parts with a blank line behind their headers"));
        }
        let Some(blank) = blank else { return Ok(false) };
        let (name, is_file) = disposition(head)?;
        if name == MODEL && self.form.part(MODEL).is_some() {
            return Err(malformed("/model", "a field that is given once"));
        }
        if self.form.parts.len() == MAX_PARTS {
            return Err(malformed("", "at most 256 parts"));
        }
        self.advance(blank + BLANK_LINE.len());
        let start = self.base + self.done - LINE_BREAK.len();
        // The line break in front makes up for the one that was put in front of the form.
        let part = Part { name, is_file, start: self.delimited, value: start..start, text: None };
        self.form.parts.push(part);
        self.place = Place::Value;
        Ok(true)
    }

    fn end_part(&mut self) -> Result<(), Malformed> {
        let value = std::mem::take(&mut self.value);
        let Some(part) = self.form.parts.last_mut() else { return Ok(()) };
        if !part.is_file && value.len() == part.value.len() {
            part.text = String::from_utf8(value).ok();
        }
        let is_name = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if part.name == MODEL && !part.text.as_deref().is_some_and(is_name) {
            return Err(malformed("/model", "the name of a model"));
        }
        Ok(())
    }

    fn pending(&self) -> &[u8] {
        self.rest.get(self.done..).unwrap_or_default()
    }

    /// So many bytes are done with.
    fn advance(&mut self, count: usize) {
        let end = self.done.saturating_add(count).min(self.rest.len());
        if let (Place::Value, Some(part)) = (self.place, self.form.parts.last_mut()) {
            let passed = self.rest.get(self.done..end).unwrap_or_default();
            part.value.end += passed.len();
            if !part.is_file && part.value.len() <= MAX_VALUE_BYTES {
                self.value.extend_from_slice(passed);
            }
        }
        self.done = end;
    }
}

/// The `name` of a part's `content-disposition`, and whether it is a file's. Two of them would be read by one and missed by
/// another.
fn disposition(head: &[u8]) -> Result<(String, bool), Malformed> {
    let head = String::from_utf8_lossy(head);
    let values = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let mut parameters = Vec::new();
    for (at, value) in values.enumerate() {
        if at > 0 {
            return Err(malformed("", "parts with one content-disposition"));
        }
        parameters = parameters_of(value);
    }
    let mut names = parameters.iter().filter(|(name, _)| name == "name");
    let is_file = parameters.iter().any(|(name, _)| name == "filename" || name == "filename*");
    match (names.next(), names.next()) {
        (Some((_, name)), None) => Ok((name.clone(), is_file)),
        (None, _) => Ok((String::new(), is_file)),
        (Some(_), Some(_)) => Err(malformed("", "parts with one name")),
    }
}

/// `; name=value; name="value"`, names in lower case. A semicolon between quotes is part of a value.
fn parameters_of(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut text, mut quoted, mut escaped) = (String::new(), false, false);
    for c in value.chars().chain([';']) {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                text.clear();
            }
            _ => text.push(c),
        }
    }
    found
}

fn malformed(pointer: &str, expected: &str) -> Malformed {
    Malformed { pointer: pointer.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF--b1\r\n--b12\r\n--b1\r\n\
        content-disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n--b1\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--b1--\r\n";

    fn changed(form: &Form, pieces: &[Bytes], model: &str) -> String {
        String::from_utf8(form.with_model(pieces, model).concat()).unwrap()
    }

    #[test]
    fn the_gateways_fields_are_found_and_replaced_and_the_rest_stays() {
        let body = [Bytes::from_static(FORM.as_bytes())];
        let form = Form::of(&body[0], "b1").unwrap();
        assert_eq!((form.model(), form.stream()), (Some("openai/whisper-1"), true));
        assert_eq!(changed(&form, &body, "whisper-1"), FORM.replace("openai/whisper-1", "whisper-1"));
        assert_eq!(changed(&form, &body, "openai/whisper-1"), FORM);
        assert_eq!(&FORM[form.parts[1].start..][..15], "--b1\r\ncontent-d");
        let file = &form.parts[0];
        assert_eq!(file.start, 0);
        assert_eq!((file.is_file, file.text.as_deref(), &FORM[file.value.clone()]), (true, None, "RIFF--b1\r\n--b12"));
    }

    #[test]
    fn a_form_means_the_same_however_it_is_cut() {
        let whole = Form::of(FORM.as_bytes(), "b1").unwrap();
        for size in 1..FORM.len() {
            let pieces: Vec<Bytes> = FORM.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let mut reader = FormReader::new("b1");
            for piece in &pieces {
                reader.push(piece).unwrap();
            }
            reader.finish().unwrap();
            assert_eq!(reader.form(), &whole, "in pieces of {size}");
            assert_eq!(changed(&whole, &pieces, "m"), FORM.replace("openai/whisper-1", "m"));
        }
    }

    #[test]
    fn a_large_file_is_not_kept_and_ends_the_fields_in_front_of_it() {
        let mut reader = FormReader::new("b");
        let field = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\n";
        reader.push(field.as_bytes()).unwrap();
        assert!(!reader.is_in_file());
        reader.push(b"Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n").unwrap();
        assert!(reader.is_in_file() && reader.form().model() == Some("m"));
        for _ in 0..64 {
            reader.push(&vec![b'\r'; 64 << 10]).unwrap();
            assert!(reader.rest.len() < 16 && reader.value.is_empty());
        }
        reader.push(b"\r\n--b--").unwrap();
        assert!(reader.finish().is_ok());
        assert_eq!(reader.form().parts[1].value.len(), 4 << 20);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for body in ["", "--b1", "--b1\r\n\r\n", "--b1--", "--b1\r\nx\r\n--b1--", &FORM[..FORM.len() - 8]] {
            assert!(Form::of(body.as_bytes(), "b1").is_err(), "{body}");
        }
    }

    #[test]
    fn a_model_cannot_be_said_twice_whatever_it_hides_behind() {
        let refused = |from: &str, to: &str| Form::of(FORM.replacen(from, to, 1).as_bytes(), "b1").unwrap_err();
        assert_eq!(refused("name=stream", "name=model").pointer, "/model");
        assert_eq!(refused("name=stream", "Name=\"model\"").pointer, "/model");
        assert_eq!(refused("name=stream", "filename=\"; name=a;\"; name=model").pointer, "/model");
        refused("name=stream", "name=stream; name=model");
        refused("name=stream", "name=a\r\nContent-Disposition: form-data; name=model");
    }

    #[test]
    fn a_boundary_is_read_from_the_content_type() {
        assert_eq!(boundary("multipart/form-data; boundary=x1"), Some("x1"));
        assert_eq!(boundary("Multipart/Form-Data;charset=utf-8; Boundary=\"x y\""), Some("x y"));
        assert_eq!(boundary("multipart/mixed; boundary=x"), None);
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }
}
