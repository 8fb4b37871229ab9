//! Operations that are not chat: which provider can stand in for the one whose form a client uses, and how.
//!
//! [`shape`] is the table. Where the provider speaks the client's form, bytes are relayed with its model spliced in; where it
//! speaks another, a [`Mapping`] has the two functions; a text completion may go over chat ([`crate::completion`]).
//!
//! ```text
//! let mapping = match shape(asked, provider.dialect())? { Shape::Mapped(mapping) => mapping, .. };
//! let sent = mapping.request(body, model, &mut losses)?;     // sent.body goes to mapping.endpoint()
//! let answered = mapping.reply(&sent.memo, answer, &mut losses)?;
//! ```

mod count;
mod embed_cohere;
mod embed_gemini;
mod embed_openai;
mod picture;
mod rerank;
mod subtitles;
mod voice;

use bytes::Bytes;

use crate::embed::{EmbedReply, EmbedRequest};
use crate::endpoint::Endpoint;
use crate::multipart::Form;
use crate::reply::Usage;
use crate::{Dialect, Losses, Malformed, Text};

pub use voice::{SOUND_IS_OVER, sound_event};

/// How a client's request reaches a provider.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// The provider speaks the client's form: its model is spliced in, the bytes are relayed. [`crate::tap::spent`] says
    /// what the answer cost, and [`mended`] mends it where it is not what was asked for.
    Same(Endpoint),
    Mapped(Mapping),
    /// A text completion over the provider's chat: see [`crate::completion`].
    OverChat,
}

/// Two forms of one operation, and how one becomes the other.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    endpoint: Endpoint,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Embed { from: EmbedForm, to: EmbedForm },
    Rerank { from: Endpoint, to: Endpoint },
    Count { from: Dialect, to: Dialect },
    Speech,
    Transcription,
    Picture,
}

/// A request in the provider's words.
#[derive(Clone, Debug)]
pub struct Sent {
    /// In pieces, where it is a form.
    pub body: Vec<Bytes>,
    pub memo: Memo,
    pub address: Option<Address>,
}

/// What a provider wants said in its URL.
#[derive(Clone, Debug)]
pub struct Address {
    /// What stands in the model's place in the path.
    pub named: String,
    /// Behind the path, ready to be sent.
    pub query: String,
}

/// What the answer must be read with: only the request knows it.
#[derive(Clone, Debug)]
pub struct Memo(Asked);

#[derive(Clone, Debug)]
enum Asked {
    Embed(Box<EmbedRequest>),
    Rerank(Box<rerank::Request>),
    Count,
    Speech { events: bool },
    Transcript(voice::Transcript),
    Picture,
}

/// An answer in the client's words.
#[derive(Clone, Debug)]
pub struct Answered {
    pub body: Vec<u8>,
    /// What it cost, where the provider says so.
    pub usage: Option<Usage>,
    /// Where it is no JSON.
    pub content_type: Option<&'static str>,
}

/// One form of embeddings, both ways.
#[derive(Clone, Copy, Debug)]
struct EmbedForm {
    decode_request: fn(&[u8]) -> Result<EmbedRequest, Malformed>,
    encode_request: fn(&EmbedRequest, &mut Losses) -> Result<Vec<u8>, Malformed>,
    decode_reply: fn(&[u8], usize) -> Result<EmbedReply, Malformed>,
    encode_reply: fn(&EmbedReply, &EmbedRequest, &mut Losses) -> Result<Vec<u8>, Malformed>,
}

// === The table ===

/// How a request to this endpoint's form reaches a provider of this dialect; `None` where it cannot.
pub fn shape(asked: Endpoint, provider: Dialect) -> Option<Shape> {
    use Endpoint::{
        BatchEmbedContents, CohereEmbed, CohereRerank, Completions, CountContents, CountInput, CountMessages,
        EmbedContent, Embeddings, Rerank,
    };
    let to = match asked {
        Completions if Completions.belongs_to(provider) => return Some(Shape::Same(Completions)),
        Completions => return Some(Shape::OverChat),
        Embeddings | CohereEmbed | EmbedContent | BatchEmbedContents => [Embeddings, CohereEmbed, BatchEmbedContents],
        Rerank | CohereRerank => [Rerank, CohereRerank, CohereRerank],
        CountMessages | CountInput | CountContents => [CountMessages, CountInput, CountContents],
        _ => return None,
    };
    let to = to.into_iter().find(|endpoint| endpoint.belongs_to(provider))?;
    // Google names the model in every request of a batch; servers of OpenAI's school differ on what a document is.
    let relayed = [Embeddings, CohereEmbed, CohereRerank, CountMessages, CountInput];
    if to == asked && relayed.contains(&asked) {
        return Some(Shape::Same(to));
    }
    let kind = match (embed_form(asked), embed_form(to), count_form(asked), count_form(to)) {
        (Some(from), Some(to), ..) => Kind::Embed { from, to },
        (.., Some(from), Some(to)) => Kind::Count { from, to },
        _ => Kind::Rerank { from: asked, to },
    };
    Some(Shape::Mapped(Mapping { endpoint: to, kind }))
}

/// How it reaches a provider that has forms of its own, whose row names them.
pub fn own_form(asked: Endpoint) -> Option<Mapping> {
    let (endpoint, kind) = match asked {
        Endpoint::Speech => (Endpoint::ElevenLabsSpeech, Kind::Speech),
        Endpoint::Transcriptions => (Endpoint::ElevenLabsTranscription, Kind::Transcription),
        Endpoint::ImageGenerations => (Endpoint::PicturePrediction, Kind::Picture),
        _ => return None,
    };
    Some(Mapping { endpoint, kind })
}

fn embed_form(endpoint: Endpoint) -> Option<EmbedForm> {
    match endpoint {
        Endpoint::Embeddings => Some(embed_openai::FORM),
        Endpoint::CohereEmbed => Some(embed_cohere::FORM),
        Endpoint::EmbedContent => Some(embed_gemini::ONE),
        Endpoint::BatchEmbedContents => Some(embed_gemini::MANY),
        _ => None,
    }
}

/// The dialect whose chat requests are counted.
fn count_form(endpoint: Endpoint) -> Option<Dialect> {
    match endpoint {
        Endpoint::CountMessages => Some(Dialect::AnthropicMessages),
        Endpoint::CountInput => Some(Dialect::OpenAiResponses),
        Endpoint::CountContents => Some(Dialect::Gemini),
        _ => None,
    }
}

// === impl Mapping ===

impl Mapping {
    /// Where the provider is asked.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The client's request in the provider's words. `model`: the provider's name for the model. Malformed where the request is
    /// not its form's, or asks for what the provider cannot give at all.
    pub fn request(&self, body: &[u8], model: &str, losses: &mut Losses) -> Result<Sent, Malformed> {
        let model = Text::from_plain(model);
        let mut address = None;
        let (body, memo) = match self.kind {
            Kind::Embed { from, to } => {
                let request = EmbedRequest { model, ..(from.decode_request)(body)? };
                ((to.encode_request)(&request, losses)?, Asked::Embed(Box::new(request)))
            }
            Kind::Rerank { from, to } => {
                let request = rerank::decode_request(from, body, model)?;
                (rerank::encode_request(to, &request, losses), Asked::Rerank(Box::new(request)))
            }
            Kind::Count { from, to } => (count::request((from, to), body, model, losses)?, Asked::Count),
            Kind::Speech => {
                let speech = voice::speech(body, &model, losses)?;
                address = Some(Address { named: speech.voice, query: format!("output_format={}", speech.format) });
                (speech.body, Asked::Speech { events: speech.events })
            }
            Kind::Picture => (picture::request(body, &model, losses)?, Asked::Picture),
            Kind::Transcription => return Err(unlike("a form")),
        };
        Ok(Sent { body: vec![body.into()], memo: Memo(memo), address })
    }

    /// The same for a request that is a form, all of which is here.
    pub fn form(
        &self,
        form: (&Form, &[Bytes]),
        boundary: &str,
        model: &str,
        losses: &mut Losses,
    ) -> Result<Sent, Malformed> {
        if !matches!(self.kind, Kind::Transcription) {
            return Err(unlike("JSON"));
        }
        let (body, wanted) = voice::form(form, boundary, model, losses)?;
        Ok(Sent { body, memo: Memo(Asked::Transcript(wanted)), address: None })
    }

    /// The provider's answer in the client's words. Malformed where the answer is not the provider's form, or does not answer
    /// what was asked.
    pub fn reply(&self, memo: &Memo, body: &[u8], losses: &mut Losses) -> Result<Answered, Malformed> {
        match (self.kind, &memo.0) {
            (Kind::Embed { from, to }, Asked::Embed(request)) => {
                let reply = (to.decode_reply)(body, request.inputs.len())?;
                let body = (from.encode_reply)(&reply, request, losses)?;
                Ok(Answered { body, usage: reply.usage, content_type: None })
            }
            (Kind::Rerank { from, to }, Asked::Rerank(request)) => {
                let reply = rerank::decode_reply(to, body, request)?;
                let body = rerank::encode_reply(from, &reply, request, losses);
                Ok(Answered { body, usage: reply.usage, content_type: None })
            }
            (Kind::Count { from, to }, Asked::Count) => {
                Ok(Answered { body: count::reply((from, to), body)?, usage: None, content_type: None })
            }
            (Kind::Transcription, Asked::Transcript(wanted)) => {
                Ok(Answered { body: wanted.reply(body)?, usage: None, content_type: wanted.content_type() })
            }
            (Kind::Picture, Asked::Picture) => {
                Ok(Answered { body: picture::reply(body, losses)?, usage: None, content_type: None })
            }
            (Kind::Speech, Asked::Speech { .. }) => Err(unlike("sound")),
            _ => Err(unlike("the answer to another request")),
        }
    }
}

impl Memo {
    /// Is the provider's sound to be told in events ([`sound_event`])?
    pub fn wants_events(&self) -> bool {
        matches!(self.0, Asked::Speech { events: true })
    }
}

fn unlike(expected: &str) -> Malformed {
    Malformed { pointer: String::new(), expected: expected.to_owned() }
}

/// A request for a count of tokens at Google without what stands around its fields; `None` where nothing does.
pub fn counted_alone(body: &[u8]) -> Option<Vec<u8>> {
    count::alone(body)
}

// === Relayed answers ===

/// A relayed answer as the client asked for it, where the provider did not heed it: embeddings as base64, which OpenAI's SDKs ask
/// for and many servers of its school answer with numbers. `None` where the answer is as asked, or is none.
pub fn mended(endpoint: Endpoint, request: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    if endpoint != Endpoint::Embeddings || memchr::memmem::find(request, b"base64").is_none() {
        return None;
    }
    embed_openai::as_base64(request, body)
}
