//! Operations that are not chat, crossed between the forms of their providers, with recorded answers of real ones.
#![cfg(test)]

#[path = "support/recorded.rs"]
mod recorded;

use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::mapped::{Answered, Mapping, Sent, Shape, mended, shape};
use bifrost_providers::tap::spent;
use bifrost_providers::{Dialect, Losses, Malformed};
use recorded::{Recording, recordings};
use serde_json::{Value, json};

use Endpoint::{
    BatchEmbedContents, CohereEmbed, CohereRerank, Completions, CountContents, CountInput, CountMessages, EmbedContent,
    Embeddings, Rerank,
};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn mapping(asked: Endpoint, provider: Dialect) -> Mapping {
    match shape(asked, provider) {
        Some(Shape::Mapped(mapping)) => mapping,
        other => panic!("{asked:?} at {}: {other:?}", provider.name()),
    }
}

fn sent(mapping: Mapping, request: &Value) -> Result<(Sent, Vec<String>), Malformed> {
    let mut losses = Losses::default();
    let sent = mapping.request(request.to_string().as_bytes(), "m", &mut losses)?;
    Ok((sent, losses.iter().map(|loss| loss.pointer.clone()).collect()))
}

/// The provider's body, and what was lost on the way to it.
fn asked_of(asked: Endpoint, provider: Dialect, request: &Value) -> (Value, Vec<String>) {
    let (sent, lost) = sent(mapping(asked, provider), request).unwrap_or_else(|fault| panic!("{request}: {fault}"));
    (value(&sent.body.concat()), lost)
}

fn answered(asked: Endpoint, provider: Dialect, request: &Value, answer: &[u8]) -> Result<Answered, Malformed> {
    let mapping = mapping(asked, provider);
    let (sent, _) = sent(mapping, request)?;
    mapping.reply(&sent.memo, answer, &mut Losses::default())
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("crossed {count} {what}");
}

fn of(file: &str, path: &str) -> Vec<Recording> {
    let mut found = recordings(path);
    found.retain(|recording| recording.is_ok() && recording.name.starts_with(file));
    found
}

fn texts(body: &Value, key: &str) -> Vec<Value> {
    match &body[key] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    }
}

// === The table ===

/// For each form: where it goes at a provider of each dialect. `=` is relayed, `~` is over chat.
#[test]
fn every_form_is_the_same_mapped_or_not_to_be_had() {
    let dialects = [
        Dialect::OpenAiChat,
        Dialect::OpenAiResponses,
        Dialect::AnthropicMessages,
        Dialect::Gemini,
        Dialect::CohereChat,
    ];
    let word = |asked, provider| match shape(asked, provider) {
        None => "-".to_owned(),
        Some(Shape::Same(endpoint)) => {
            assert_eq!(endpoint, asked);
            "=".to_owned()
        }
        Some(Shape::OverChat) => "~".to_owned(),
        Some(Shape::Mapped(mapping)) => {
            assert!(mapping.endpoint().belongs_to(provider), "{asked:?}");
            format!("{:?}", mapping.endpoint())
        }
    };
    for (asked, expected) in [
        (Completions, ["=", "=", "~", "~", "~"]),
        (Embeddings, ["=", "=", "-", "BatchEmbedContents", "="]),
        (CohereEmbed, ["Embeddings", "Embeddings", "-", "BatchEmbedContents", "="]),
        (EmbedContent, ["Embeddings", "Embeddings", "-", "BatchEmbedContents", "CohereEmbed"]),
        (BatchEmbedContents, ["Embeddings", "Embeddings", "-", "BatchEmbedContents", "CohereEmbed"]),
        (Rerank, ["Rerank", "Rerank", "-", "-", "CohereRerank"]),
        (CohereRerank, ["Rerank", "Rerank", "-", "-", "="]),
        (CountMessages, ["CountInput", "CountInput", "=", "CountContents", "-"]),
        (CountInput, ["=", "=", "CountMessages", "CountContents", "-"]),
        (CountContents, ["CountInput", "CountInput", "CountMessages", "CountContents", "-"]),
        (Endpoint::ChatCompletions, ["-"; 5]),
        (Endpoint::Models, ["-"; 5]),
    ] {
        let mut expected = expected.map(str::to_owned);
        if asked == Embeddings {
            expected[4] = "CohereEmbed".into();
        }
        assert_eq!(dialects.map(|dialect| word(asked, dialect)), expected, "{asked:?}");
    }
}

// === Embeddings ===

/// A request for the same texts in each client's form.
fn embed_request(form: Endpoint, texts: &[Value]) -> Value {
    match form {
        Embeddings => json!({"model":"x","input":texts}),
        CohereEmbed => json!({"model":"x","texts":texts,"input_type":"search_query"}),
        _ => {
            let requests: Vec<Value> =
                texts.iter().map(|text| json!({"model":"models/x","content":{"parts":[{"text":text}]}})).collect();
            json!({"requests":requests})
        }
    }
}

/// The numbers in an answer of each form.
fn vectors(form: Endpoint, body: &Value) -> Vec<Value> {
    let list = match form {
        Embeddings => &body["data"],
        CohereEmbed if body["embeddings"].is_array() => &body["embeddings"],
        CohereEmbed => &body["embeddings"]["float"],
        _ => &body["embeddings"],
    };
    let numbers = |entry: &Value| match form {
        Embeddings => entry["embedding"].clone(),
        CohereEmbed => entry.clone(),
        _ => entry["values"].clone(),
    };
    list.as_array().unwrap().iter().map(numbers).collect()
}

/// A recorded answer reaches clients of every other form number for number, and its cost is known.
fn check_answers(provider: Dialect, form: Endpoint, recordings: &[Recording], inputs: fn(&Value) -> Vec<Value>) {
    for Recording { name, request, response, .. } in recordings {
        let texts = inputs(&serde_json::from_str(request).unwrap());
        let source: Value = serde_json::from_str(response).unwrap();
        for client in [Embeddings, CohereEmbed, BatchEmbedContents].into_iter().filter(|client| *client != form) {
            let request = embed_request(client, &texts);
            let answer = answered(client, provider, &request, response.as_bytes());
            let answer = answer.unwrap_or_else(|fault| panic!("{name} to {client:?}: {fault}"));
            assert_eq!(vectors(client, &value(&answer.body)), vectors(form, &source), "{name} to {client:?}");
            // As when such an answer is relayed.
            let cost = spent(response.as_bytes()).map(|usage| usage.input);
            assert_eq!(answer.usage.map(|usage| usage.input), cost, "{name}");
        }
    }
    report(&format!("answers of {form:?}"), recordings.len());
}

#[test]
fn every_recorded_embedding_reaches_clients_of_every_form() {
    let mut openai = recordings("/embeddings");
    openai.retain(Recording::is_ok);
    check_answers(Dialect::OpenAiChat, Embeddings, &openai, |request| texts(request, "input"));
    let mut cohere = of("cohere", "/v1/embed");
    cohere.retain(|recording| !recording.request.contains("\"images\""));
    check_answers(Dialect::CohereChat, CohereEmbed, &cohere, |request| texts(request, "texts"));
    let gemini = of("gemini", ":batchEmbedContents");
    let said = |request: &Value| {
        texts(request, "requests").iter().map(|one| one["content"]["parts"][0]["text"].clone()).collect()
    };
    check_answers(Dialect::Gemini, BatchEmbedContents, &gemini, said);
    for Recording { name, request, response, .. } in &gemini {
        // And Google's own clients, whose bodies only have their model replaced.
        let renamed = request
            .replace("models/gemini-embedding-001", "models/m")
            .replace("output_dimensionality", "outputDimensionality");
        let request: Value = serde_json::from_str(request).unwrap();
        assert_eq!(
            asked_of(BatchEmbedContents, Dialect::Gemini, &request),
            (serde_json::from_str(&renamed).unwrap(), vec![]),
            "{name}"
        );
        let answer = answered(BatchEmbedContents, Dialect::Gemini, &request, response.as_bytes()).unwrap();
        assert_eq!(value(&answer.body), serde_json::from_str::<Value>(response).unwrap(), "{name}");
    }
}

#[test]
fn coh_embed_input_type_and_types() {
    let content = |parts: Value| json!({"content":{"parts":parts},"taskType":"RETRIEVAL_QUERY"});
    let text = json!([{"text":"a"}]);
    for (asked, provider, request, expected, lost) in [
        (
            Embeddings,
            Dialect::CohereChat,
            json!({"input":"a","dimensions":8,"encoding_format":"base64","user":"u"}),
            json!({"model":"m","texts":["a"],"input_type":"search_document","embedding_types":["float"],"output_dimension":8}),
            vec!["/user"],
        ),
        (
            Embeddings,
            Dialect::CohereChat,
            json!({"input":["a","b"],"input_type":"search_query"}),
            json!({"model":"m","texts":["a","b"],"input_type":"search_query","embedding_types":["float"]}),
            vec![],
        ),
        (
            CohereEmbed,
            Dialect::OpenAiChat,
            json!({"texts":["a"],"input_type":"classification","truncate":"END","output_dimension":8,"embedding_types":["float","base64"]}),
            json!({"model":"m","input":["a"],"encoding_format":"float","dimensions":8}),
            vec!["/texts/0/input_type", "/truncate"],
        ),
        (
            CohereEmbed,
            Dialect::Gemini,
            json!({"texts":["a"],"input_type":"clustering","priority":1}),
            json!({"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING"}]}),
            vec!["/priority"],
        ),
        (
            CohereEmbed,
            Dialect::Gemini,
            json!({"inputs":[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}],"input_type":"image"}),
            json!({"requests":[{"model":"models/m","content":{"parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QQ=="}}]}}]}),
            vec!["/input_type"],
        ),
        (
            EmbedContent,
            Dialect::CohereChat,
            content(json!([{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QQ=="}}])),
            json!({"model":"m","inputs":[{"content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}],"input_type":"search_query","embedding_types":["float"]}),
            vec![],
        ),
        (
            EmbedContent,
            Dialect::CohereChat,
            json!({"content":{"parts":text},"task_type":"SEMANTIC_SIMILARITY","title":"T"}),
            json!({"model":"m","texts":["a"],"input_type":"search_document","embedding_types":["float"]}),
            vec!["/taskType", "/title"],
        ),
        (
            EmbedContent,
            Dialect::OpenAiChat,
            content(text.clone()),
            json!({"model":"m","input":["a"],"encoding_format":"float"}),
            vec!["/input_type"],
        ),
        (
            EmbedContent,
            Dialect::Gemini,
            json!({"model":"models/x","content":{"parts":text,"role":"user"},"taskType":"CODE_RETRIEVAL_QUERY","later":1}),
            json!({"requests":[{"model":"models/m","content":{"parts":text,"role":"user"},"taskType":"CODE_RETRIEVAL_QUERY","later":1}]}),
            vec![],
        ),
    ] {
        let (body, losses) = asked_of(asked, provider, &request);
        assert_eq!(body, expected, "{request}");
        assert_eq!(losses, lost, "{request}");
    }
}

#[test]
fn what_cannot_be_embedded_is_refused_with_its_place() {
    let two = |key: &str, one: Value, other: Value| {
        let request = |value: Value| json!({"content":{"parts":[{"text":"a"}]},key:value});
        json!({"requests":[request(one), request(other)]})
    };
    for (asked, provider, request, pointer) in [
        (Embeddings, Dialect::CohereChat, json!({"model":"x"}), "/input"),
        (Embeddings, Dialect::CohereChat, json!({"input":7}), "/input"),
        (Embeddings, Dialect::CohereChat, json!({"input":["a",{}]}), "/input/1"),
        (Embeddings, Dialect::CohereChat, json!({"input":[1,2,3]}), "/input"),
        (Embeddings, Dialect::Gemini, json!({"input":["a",[1,2]]}), "/input/1"),
        (Embeddings, Dialect::CohereChat, json!({"input":"a","encoding_format":"int8"}), "/encoding_format"),
        (CohereEmbed, Dialect::OpenAiChat, json!({"texts":["a"],"embedding_types":["int8"]}), "/embedding_types"),
        (CohereEmbed, Dialect::OpenAiChat, json!({"input_type":"search_query"}), "/texts"),
        (CohereEmbed, Dialect::OpenAiChat, json!({"images":["data:image/png;base64,QQ=="]}), "/images/0"),
        (BatchEmbedContents, Dialect::OpenAiChat, json!({"requests":[{"content":{}}]}), "/requests/0/content/parts"),
        (
            BatchEmbedContents,
            Dialect::OpenAiChat,
            two("outputDimensionality", json!(8), json!(9)),
            "/requests/1/dimensions",
        ),
        (
            BatchEmbedContents,
            Dialect::CohereChat,
            two("taskType", json!("CLUSTERING"), json!("RETRIEVAL_QUERY")),
            "/requests/1/input_type",
        ),
        (EmbedContent, Dialect::CohereChat, json!({"content":{"parts":[{"fileData":{"fileUri":"gs://x"}}]}}), ""),
    ] {
        let fault = sent(mapping(asked, provider), &request).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{request}: {fault}");
    }
}

/// An answer that does not match its question is no answer.
#[test]
fn embeddings_too_many_too_few_or_out_of_order_are_refused() {
    let entry = |index: u64| json!({"object":"embedding","index":index,"embedding":[index]});
    let request = json!({"texts":["a","b"]});
    for (entries, is_sound) in [
        (vec![entry(1), entry(0)], true),
        (vec![entry(0)], false),
        (vec![entry(0), entry(0)], false),
        (vec![entry(0), entry(2)], false),
    ] {
        let body = json!({"data":entries,"usage":{"prompt_tokens":1,"total_tokens":1}}).to_string();
        let answer = answered(CohereEmbed, Dialect::OpenAiChat, &request, body.as_bytes());
        assert_eq!(answer.is_ok(), is_sound, "{body}");
        if let Ok(answer) = answer {
            assert_eq!(value(&answer.body)["embeddings"]["float"], json!([[0], [1]]));
        }
    }
}

/// OpenAI's SDKs ask for base64 unless they are told otherwise.
#[test]
fn base64_is_made_where_it_was_asked_for() {
    let cohere = json!({"id":"c","embeddings":{"float":[[1.0,-0.5,0.25]]},"texts":["a"],"meta":{"billed_units":{"input_tokens":2,"image_tokens":3}}});
    let request = json!({"model":"x","input":"a","encoding_format":"base64"});
    let answer = answered(Embeddings, Dialect::CohereChat, &request, cohere.to_string().as_bytes()).unwrap();
    let expected = json!({"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAL8AAIA+"}],"model":"m",
        "usage":{"prompt_tokens":5,"total_tokens":5}});
    assert_eq!(value(&answer.body), expected);
    // Relayed answers of servers that give numbers all the same.
    let numbers = json!({"object":"list","later":1,"data":[{"index":0,"embedding":[1.0,-0.5,0.25],"object":"embedding"}],"usage":{}});
    let mended =
        |request: &Value, body: &Value| mended(Embeddings, request.to_string().as_bytes(), body.to_string().as_bytes());
    let mut base64 = numbers.clone();
    base64["data"][0]["embedding"] = json!("AACAPwAAAL8AAIA+");
    assert_eq!(mended(&request, &numbers).map(|body| value(&body)), Some(base64.clone()));
    assert_eq!(mended(&request, &base64), None, "as asked");
    assert_eq!(mended(&json!({"input":"base64"}), &numbers), None, "nobody asked");
    assert_eq!(mended(&request, &json!({"error":{"message":"m"}})), None);
    // A provider that answers Google's clients without saying what it used is told of.
    let mapping = mapping(Embeddings, Dialect::Gemini);
    let mut losses = Losses::default();
    let sent = mapping.request(request.to_string().as_bytes(), "m", &mut losses).unwrap();
    let answer = mapping.reply(&sent.memo, br#"{"embeddings":[{"values":[1]}]}"#, &mut losses).unwrap();
    assert!(answer.usage.is_none() && losses.iter().any(|loss| loss.pointer == "/usage"), "{losses:?}");
}

// === Reranking ===

#[test]
fn every_recorded_ranking_reaches_its_clients() {
    let mut found = recordings("/rerank");
    found.retain(Recording::is_ok);
    for Recording { name, request, response, .. } in &found {
        let request: Value = serde_json::from_str(request).unwrap();
        let source: Value = serde_json::from_str(response).unwrap();
        let mut expected = request.clone();
        expected["model"] = json!("m");
        assert_eq!(asked_of(Rerank, Dialect::OpenAiChat, &request), (expected, vec![]), "{name}");
        let own = answered(Rerank, Dialect::OpenAiChat, &request, response.as_bytes()).unwrap();
        let (own, usage) = (value(&own.body), own.usage.unwrap());
        assert_eq!(json!(usage.input), source["usage"]["prompt_tokens"], "{name}");
        let scores = |body: &Value| {
            let list = body["results"].as_array().unwrap();
            let mut pairs: Vec<(f64, Value)> =
                list.iter().map(|one| (one["relevance_score"].as_f64().unwrap(), one["index"].clone())).collect();
            let sorted = pairs.is_sorted_by(|one, other| one.0 >= other.0);
            pairs.sort_by(|one, other| other.0.total_cmp(&one.0));
            (sorted, pairs)
        };
        assert_eq!(scores(&own), (true, scores(&source).1), "{name}");
        assert_eq!((&own["usage"], &own["model"]), (&source["usage"], &source["model"]), "{name}");
        let cohere = answered(CohereRerank, Dialect::OpenAiChat, &request, response.as_bytes()).unwrap();
        let cohere = value(&cohere.body);
        assert_eq!(scores(&cohere), scores(&own), "{name}");
        assert_eq!(cohere["meta"]["tokens"]["input_tokens"], source["usage"]["prompt_tokens"], "{name}");
    }
    report("rankings", found.len());
}

#[test]
fn coh_rerank_documents_as_strings() {
    let documents = json!(["plain", {"text":"t"}, {"title":"T","text":"t","year":2024,"tags":["a"]}, 7]);
    let request = json!({"model":"x","query":"q","documents":documents,"top_n":2,"return_documents":true,"max_tokens_per_doc":9,"rank_fields":["title"]});
    let strings = json!(["plain", "t", "title: T\ntext: t\nyear: 2024\ntags: [\"a\"]", "7"]);
    let (cohere, lost) = asked_of(Rerank, Dialect::CohereChat, &request);
    assert_eq!(cohere, json!({"model":"m","query":"q","documents":strings,"top_n":2,"max_tokens_per_doc":9}));
    assert_eq!(lost, ["/rank_fields"]);
    // Whoever wants its documents back gets what it sent.
    let answer = json!({"id":"r","results":[{"index":2,"relevance_score":0.25},{"index":0,"relevance_score":0.5},{"index":1,"relevance_score":0.125}],
        "meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}});
    let answered_to = |client, provider, request: &Value| {
        value(&answered(client, provider, request, answer.to_string().as_bytes()).unwrap().body)
    };
    let back = answered_to(Rerank, Dialect::CohereChat, &request);
    let expected = json!({"id":"r","model":"m","meta":answer["meta"],"results":[
        {"index":0,"relevance_score":0.5,"document":{"text":"plain"}}, {"index":2,"relevance_score":0.25,"document":documents[2]}]});
    assert_eq!(back, expected);
    let (jina, lost) = asked_of(Rerank, Dialect::OpenAiChat, &request);
    assert_eq!(
        (&jina["documents"], &jina["return_documents"], &jina["rank_fields"], lost),
        (&strings, &json!(true), &json!(["title"]), vec![])
    );
    let vllm = json!({"id":"r","model":"v","usage":{"total_tokens":5},"results":[{"index":0,"relevance_score":0.5,"document":{"text":"plain"}}]});
    let answer =
        answered(Rerank, Dialect::OpenAiChat, &json!({"query":"q","documents":["plain"]}), vllm.to_string().as_bytes())
            .unwrap();
    assert_eq!((value(&answer.body), answer.usage.unwrap().input), (vllm, 5));
    let (from_cohere, lost) = asked_of(
        CohereRerank,
        Dialect::OpenAiChat,
        &json!({"query":"q","documents":["a"],"max_tokens_per_doc":9,"priority":1}),
    );
    assert_eq!(from_cohere, json!({"model":"m","query":"q","documents":["a"]}));
    assert_eq!(lost, ["/max_tokens_per_doc", "/priority"]);
}

#[test]
fn a_ranking_of_documents_that_nobody_sent_is_refused() {
    let request = json!({"query":"q","documents":["a","b"]});
    let one = |index: i64| json!({"index":index,"relevance_score":1});
    for (results, pointer) in [
        (json!([one(2)]), "/results/0/index"),
        (json!([one(1), one(1)]), "/results/1/index"),
        (json!([one(-1)]), "/results/0/index"),
        (json!([{"index":0}]), "/results/0/relevance_score"),
        (Value::Null, "/results"),
    ] {
        let body = json!({"results":results}).to_string();
        let fault = answered(Rerank, Dialect::OpenAiChat, &request, body.as_bytes()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{body}");
    }
    for (request, pointer) in [(json!({"documents":[]}), "/query"), (json!({"query":"q"}), "/documents")] {
        assert_eq!(sent(mapping(Rerank, Dialect::CohereChat), &request).unwrap_err().pointer, pointer);
    }
}

// === Counting ===

#[test]
fn a_request_is_counted_in_the_words_of_whoever_counts() {
    let schema = json!({"type":"object","properties":{}});
    let anthropic = json!({"model":"x","system":"s","messages":[{"role":"user","content":"q"}],
        "tools":[{"name":"f","input_schema":schema}],"thinking":{"type":"enabled","budget_tokens":2000}});
    let (openai, lost) = asked_of(CountMessages, Dialect::OpenAiChat, &anthropic);
    assert_eq!(
        (&openai["model"], &openai["input"][1]["role"], &openai["tools"][0]["name"]),
        (&json!("m"), &json!("user"), &json!("f"))
    );
    for key in ["store", "stream", "max_output_tokens", "include"] {
        assert!(openai.get(key).is_none(), "{key} counts nothing");
    }
    assert_eq!(lost, ["/thinking/budget_tokens"]);
    let (gemini, _) = asked_of(CountMessages, Dialect::Gemini, &anthropic);
    let whole = &gemini["generateContentRequest"];
    assert_eq!((&whole["model"], &whole["contents"][0]["parts"][0]["text"]), (&json!("models/m"), &json!("q")));
    assert_eq!(whole["systemInstruction"]["parts"][0]["text"], "s");
    assert!(whole["tools"].is_array());
    // Google's clients send the contents alone, or all of a request.
    let contents = json!([{"role":"user","parts":[{"text":"q"}]}]);
    for request in
        [json!({"contents":contents}), json!({"generateContentRequest":{"model":"models/x","contents":contents}})]
    {
        let (claude, lost) = asked_of(CountContents, Dialect::AnthropicMessages, &request);
        assert_eq!((claude["messages"].as_array().unwrap().len(), lost.len()), (1, 0), "{request}");
        assert!(claude.get("max_tokens").is_none());
        let (own, _) = asked_of(CountContents, Dialect::Gemini, &request);
        assert_eq!(own, json!({"generateContentRequest":{"model":"models/m","contents":contents}}), "{request}");
    }
    let fault =
        sent(mapping(CountContents, Dialect::Gemini), &json!({"generateContentRequest":{"contents":7}})).unwrap_err();
    assert_eq!(fault.pointer, "/generateContentRequest/contents");
}

#[test]
fn a_count_is_one_number_in_every_form() {
    let requests = [
        (CountMessages, json!({"model":"x","messages":[{"role":"user","content":"q"}]}), json!({"input_tokens":7})),
        (CountInput, json!({"model":"x","input":"q"}), json!({"object":"response.input_tokens","input_tokens":7})),
        (CountContents, json!({"contents":[{"parts":[{"text":"q"}]}]}), json!({"totalTokens":7})),
    ];
    let answers = [
        (Dialect::AnthropicMessages, json!({"input_tokens":7})),
        (Dialect::OpenAiChat, json!({"object":"response.input_tokens","input_tokens":7})),
        (Dialect::Gemini, json!({"totalTokens":7,"promptTokensDetails":[]})),
    ];
    let mut crossed = 0;
    for (asked, request, expected) in &requests {
        for (provider, answer) in &answers {
            if let Some(Shape::Mapped(_)) = shape(*asked, *provider) {
                let told = answered(*asked, *provider, request, answer.to_string().as_bytes()).unwrap();
                assert_eq!(value(&told.body), *expected, "{asked:?} of {}", provider.name());
                assert!(answered(*asked, *provider, request, b"{}").is_err(), "no number is no answer");
                crossed += 1;
            }
        }
    }
    assert_eq!(crossed, 7);
}

// === Whatever is sent ===

proptest::proptest! {
    /// No changed byte of a request or of an answer makes a mapping panic, and what is still understood is still JSON.
    #[test]
    fn damaged_bodies_never_panic(which in 0..6_usize, at: proptest::sample::Index, byte: u8) {
        let cases: [(Endpoint, Dialect, &str, &str); 6] = [
            (Embeddings, Dialect::CohereChat, r#"{"model":"x","input":["a","b"],"encoding_format":"base64"}"#,
                r#"{"id":"i","embeddings":{"float":[[1.5,-2],[0]]},"meta":{"billed_units":{"input_tokens":1}}}"#),
            (CohereEmbed, Dialect::Gemini, r#"{"texts":["a"],"inputs":[{"content":[{"type":"text","text":"b"}]}],"embedding_types":["base64"]}"#,
                r#"{"embeddings":[{"values":[1]},{"values":[2]}],"usageMetadata":{"promptTokenCount":1}}"#),
            (BatchEmbedContents, Dialect::OpenAiChat, r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING"}]}"#,
                r#"{"data":[{"index":0,"embedding":"AACAPw=="}],"usage":{"prompt_tokens":1}}"#),
            (Rerank, Dialect::CohereChat, r#"{"query":"q","documents":["a",{"text":"b"}],"top_n":1,"return_documents":true}"#,
                r#"{"id":"i","results":[{"index":1,"relevance_score":0.5},{"index":0,"relevance_score":1e-3}],"meta":{}}"#),
            (CohereRerank, Dialect::OpenAiChat, r#"{"query":"q","documents":["a"],"max_tokens_per_doc":1}"#,
                r#"{"results":[{"index":0,"relevance_score":1}],"usage":{"total_tokens":1}}"#),
            (CountMessages, Dialect::Gemini, r#"{"model":"x","messages":[{"role":"user","content":"q"}]}"#, r#"{"totalTokens":7}"#),
        ];
        let (asked, provider, request, answer) = cases[which];
        let mapping = mapping(asked, provider);
        let damaged = |body: &str| {
            let mut bytes = body.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        };
        if let Ok(sent) = mapping.request(&damaged(request), "m", &mut Losses::default()) {
            value(&sent.body.concat());
        }
        let sent = mapping.request(request.as_bytes(), "m", &mut Losses::default()).unwrap();
        if let Ok(told) = mapping.reply(&sent.memo, &damaged(answer), &mut Losses::default()) {
            value(&told.body);
        }
        mended(Embeddings, &damaged(request), &damaged(answer));
    }
}
