//! Items by their ids: a client that takes for granted that replies are kept (`store`, which is OpenAI's default) says
//! `{"type":"item_reference","id":..}` in the place of an item, as Vercel's `ai` does.
//!
//! What was said in the gateway's own ids nobody keeps but the gateway. Here is how they are found, in a reply that was written
//! and in a conversation; remembering them is not the codec's.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::tag;
use super::{input, spelling};
use crate::Text;
use crate::chat::Message;
use crate::json::fields;

/// A whole reply, or the event that ends a stream: <https://platform.openai.com/docs/api-reference/responses-streaming>.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    output: Vec<&'a RawValue>,
    #[serde(borrow)]
    response: Option<Box<Self>>,
}

/// The items that the gateway made in a reply as it was written: a whole body, or the last events of a stream. Each as a client
/// would send it back, in place of its id.
pub fn kept(written: &[u8]) -> Vec<(String, Message)> {
    let said = serde_json::from_slice::<Said<'_>>(written).ok().or_else(|| {
        let ended = written.split(|byte| *byte == b'\n').rev().find_map(|line| line.strip_prefix(b"data: "))?;
        serde_json::from_slice::<Said<'_>>(ended).ok().and_then(|event| event.response).map(|response| *response)
    });
    let items = said.map(|said| said.output).unwrap_or_default();
    let ours = items.into_iter().filter(|item| is_ours(item));
    ours.filter_map(|item| Some((id(item)?, input::decode_item(item, String::new()).ok()?))).collect()
}

/// The id of the item that this message stands for, if that is all it says.
pub fn reference(message: &Message) -> Option<String> {
    let [part] = message.parts.as_slice() else { return None };
    spelling::latest(part).filter(|raw| input::is_reference(raw)).and_then(|raw| id(&raw))
}

/// May this body refer to items that the gateway made? Told from its bytes.
pub fn may_refer(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"item_reference\"").is_some() || spelling::has_made(body)
}

/// Did the gateway name the item, or make it to show one of its tools ([`super::mcp`])?
fn is_ours(item: &RawValue) -> bool {
    tag(item).starts_with("mcp_") || fields(Some(item)).find("id").is_some_and(spelling::is_made)
}

fn id(item: &RawValue) -> Option<String> {
    let id = fields(Some(item)).remove("id")?;
    Text::from_raw(&id).map(|id| id.to_plain().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::PartKind;

    const ITEM: &str = r#"{"type":"message","role":"assistant","id":"msg_bf00000000000000aa_0","status":"completed","content":[{"type":"output_text","text":"Hi","annotations":[]}]}"#;

    #[test]
    fn what_the_gateway_named_is_found_in_bodies_and_at_the_end_of_streams() {
        let body = format!(
            r#"{{"id":"r","output":[{{"type":"message","id":"msg_0123","role":"assistant","content":"no"}},{ITEM}]}}"#
        );
        let stream = format!(
            "event: x\ndata: {{\"type\":\"x\"}}\n\nevent: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{body}}}\n\n"
        );
        for written in [&body, &stream] {
            let found = kept(written.as_bytes());
            let [(id, message)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(id, "msg_bf00000000000000aa_0");
            assert!(matches!(&message.parts[0].kind, PartKind::Text(text) if text.to_plain() == "Hi"), "{message:?}");
        }
        for nothing in ["", "{}", "data: [DONE]\n\n", r#"{"output":null}"#] {
            assert!(kept(nothing.as_bytes()).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn a_reference_is_told_from_items() {
        let read = |item: &str| {
            let raw = serde_json::from_str::<&RawValue>(item).unwrap();
            reference(&input::decode_item(raw, String::new()).unwrap())
        };
        let id = Some("rs_bf00000000000000aa_1".to_owned());
        assert_eq!(read(r#"{"type":"item_reference","id":"rs_bf00000000000000aa_1"}"#), id);
        assert_eq!(read(r#"{"id":"rs_bf00000000000000aa_1"}"#), id);
        assert_eq!(read(ITEM), None);
        assert_eq!(read(r#"{"type":"mcp_call","id":"mcp_1","server_label":"s","name":"f","arguments":"{}"}"#), None);
    }
}
