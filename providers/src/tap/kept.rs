//! What an answer that is no chat says of what its provider keeps: files, batches, stored responses.

use crate::json::{pick, utf8};

/// The names by which a provider knows the thing that this answer describes, and the files that it made for it. Empty where it
/// describes none: a list, something that is no JSON.
///
/// Sources: OpenAI and Anthropic call everything by its `id`; a batch of OpenAI's has its results in two more files
/// (<https://platform.openai.com/docs/api-reference/batch/object>). Google's things have a `name`, whose last part stands in
/// their paths, and a file that was just uploaded says it one level deeper (<https://ai.google.dev/api/files>).
pub fn kept(body: &[u8]) -> Vec<String> {
    let fields = ["id", "output_file_id", "error_file_id", "name", "file"];
    let Some([id, output, errors, name, file]) = utf8(body).and_then(|text| pick(text, fields)) else {
        return Vec::new();
    };
    if id.is_some() {
        return [id, output, errors].into_iter().flatten().filter_map(plain).collect();
    }
    let nested = || file.and_then(|file| pick(file, ["name"])).and_then(|[name]| name);
    let named = name.or_else(nested).and_then(plain);
    named.and_then(|name| Some(name.split_once('/')?.1.to_owned())).into_iter().collect()
}

fn plain(json: &str) -> Option<String> {
    serde_json::from_str(json).ok().filter(|text: &String| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_known_by_its_own_id_and_those_of_its_results() {
        for (body, want) in [
            (r#"{"id":"file-1","object":"file","filename":"name"}"#, vec!["file-1"]),
            (
                r#"{"id":"batch_1","input_file_id":"file-1","output_file_id":"file-2","error_file_id":null}"#,
                vec!["batch_1", "file-2"],
            ),
            (r#"{"id":"cntr_1","name":"a/b"}"#, vec!["cntr_1"]),
            (r#"{"name":"files/abc-1","mimeType":"text/plain"}"#, vec!["abc-1"]),
            (r#"{"file":{"name":"files/abc-1"}}"#, vec!["abc-1"]),
            (r#"{"object":"list","data":[{"id":"file-1"}]}"#, vec![]),
            (r#"{"tokens":[1],"id":""}"#, vec![]),
            (r#"{"id":7,"name":"no place"}"#, vec![]),
            ("[]", vec![]),
            ("\u{0}", vec![]),
        ] {
            assert_eq!(kept(body.as_bytes()), want, "{body}");
        }
    }
}
