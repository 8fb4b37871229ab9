//! Speech and transcripts of `ElevenLabs`, for clients of OpenAI's. The provider here refuses what the real one would.

use bifrost_tests::{Answer, Cloud, Gateway, OrFail as _, Said, Seen, Style};
use serde_json::{Value, json};

const HEARD: &str = r#"{"language_code":"eng","language_probability":0.98,"text":"Hi there. (laughs)","words":[
  {"text":"Hi","start":0.1,"end":0.4,"type":"word","speaker_id":"s0"},{"text":" ","start":0.4,"end":0.5,"type":"spacing"},
  {"text":"there.","start":0.5,"end":1.25,"type":"word","speaker_id":"s0"},{"text":"(laughs)","start":1.3,"end":2.0,"type":"audio_event"}]}"#;

/// As <https://elevenlabs.io/docs/api-reference> has it.
fn voices(seen: &Seen) -> Said {
    let refused = |status, kind: &str, message: &str| {
        Said::json(status, &json!({"detail": {"status": kind, "message": message}}))
    };
    if seen.header("xi-api-key") != "sk-eleven" {
        return refused(401, "invalid_api_key", "Invalid API key");
    }
    let path = seen.path.split('?').next().unwrap_or_default();
    match (seen.method.as_str(), path) {
        ("GET", "/v1/models") => Said::json(200, &json!([{"model_id": "eleven_flash_v2_5", "name": "Flash"}])),
        ("POST", "/v1/text-to-speech/nobody/stream") => refused(404, "voice_not_found", "A voice was not found"),
        ("POST", "/v1/text-to-speech/JBFqnCBsd6/stream") => {
            let body = seen.json();
            assert!(body["text"].is_string() && body["model_id"].is_string(), "{body}");
            let known = ["text", "model_id", "voice_settings", "seed"];
            assert!(body.as_object().is_some_and(|body| body.keys().all(|key| known.contains(&&**key))), "{body}");
            Said::new(200, "audio/mpeg", "ID3 sound")
        }
        ("POST", "/v1/speech-to-text") => {
            let text = seen.text();
            assert!(text.contains("name=\"model_id\"\r\n\r\nscribe_v2\r\n"), "{text}");
            assert!(!text.contains("name=\"model\"") && !text.contains("response_format"), "{text}");
            assert!(text.ends_with("\r\n--b--\r\n"), "{text}");
            Said::new(200, "application/json", HEARD)
        }
        _ => refused(404, "not_found", "Not Found"),
    }
}

async fn world() -> (Cloud, Gateway) {
    let cloud = Cloud::start(voices).await;
    let keys = json!([{"name": "k", "value": "sk-eleven"}]);
    let provider = json!({"keys": keys, "network_config": {"base_url": cloud.url()}});
    let gateway = Gateway::start()
        .provider("openai", Style::OpenAi)
        .settings(&json!({"providers": {"elevenlabs": provider}}))
        .await;
    (cloud, gateway)
}

async fn speak(gateway: &Gateway, more: Value) -> Answer {
    let mut body = json!({"model": "elevenlabs/eleven_flash_v2_5", "input": "Hi \"you\"", "voice": "JBFqnCBsd6"});
    for (key, value) in more.as_object().or_fail("an object") {
        body[key] = value.clone();
    }
    gateway.post("/v1/audio/speech", &[], body.to_string()).await
}

#[tokio::test]
async fn speech_is_made_by_a_voice_of_its_own() {
    let (cloud, gateway) = world().await;
    let answer = speak(&gateway, json!({"speed": 1.1, "seed": 7, "voice_settings": {"stability": 0.5}})).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ID3 sound"));
    assert_eq!(answer.header("content-type"), "audio/mpeg");
    assert_eq!(answer.header("x-bifrost-provider"), "elevenlabs");
    let seen = cloud.seen().pop().or_fail("a request");
    assert_eq!(seen.path, "/v1/text-to-speech/JBFqnCBsd6/stream?output_format=mp3_44100_128");
    let want = json!({"text": "Hi \"you\"", "model_id": "eleven_flash_v2_5", "seed": 7,
        "voice_settings": {"stability": 0.5, "speed": 1.1}});
    assert_eq!(seen.json(), want);

    let events = speak(&gateway, json!({"stream_format": "sse", "response_format": "pcm_16000"})).await;
    assert!(events.is_stream(), "{:?}", events.headers);
    let told: Vec<Value> = events.events().iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    let (last, deltas) = told.split_last().or_fail("events");
    assert!(deltas.iter().all(|delta| delta["type"] == "speech.audio.delta"), "{told:?}");
    assert_eq!(deltas[0]["audio"], "SUQzIHNvdW5k");
    assert_eq!(last["type"], "speech.audio.done");
    assert!(cloud.seen().pop().or_fail("a request").path.ends_with("?output_format=pcm_16000"));
}

#[tokio::test]
async fn what_it_cannot_say_is_told_or_refused_before_it_is_asked() {
    let (cloud, gateway) = world().await;
    let lossy = speak(&gateway, json!({"instructions": "Whisper", "speed": 4})).await;
    assert_eq!((lossy.status, lossy.header("x-bifrost-losses")), (200, "2"), "{:?}", lossy.headers);
    let asked = cloud.seen().len();
    for more in [json!({"response_format": "flac"}), json!({"stream_format": "x"}), json!({"voice": 7})] {
        let refused = speak(&gateway, more.clone()).await;
        assert_eq!(refused.status, 400, "{more}: {}", refused.text());
        refused.fault();
    }
    assert_eq!(cloud.seen().len(), asked);
    let unknown = speak(&gateway, json!({"voice": "nobody"})).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    assert!(unknown.fault().message.contains("A voice was not found"), "{}", unknown.text());
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "x"}]})),
        ("/v1/embeddings", json!({"input": "x"})),
    ] {
        let mut body = body;
        body["model"] = json!("elevenlabs/x");
        let answer = gateway.post(path, &[], body.to_string()).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.fault().message.contains("not supported by elevenlabs"), "{}", answer.text());
    }
    let file = gateway.get("/v1/files?provider=elevenlabs", &[]).await;
    assert!(file.fault().message.contains("not supported by elevenlabs"), "{}", file.text());
    let models = gateway.get("/v1/models", &[]).await.text();
    assert!(models.contains("elevenlabs/eleven_flash_v2_5"), "{models}");
}

/// A transcription, its file in front of these fields.
async fn transcribe(gateway: &Gateway, fields: &[(&str, &str)]) -> Answer {
    let mut form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
                    Content-Type: audio/wav\r\n\r\nRIFF\r\n-b"
        .to_owned();
    for (name, value) in [("model", "elevenlabs/scribe_v2")].iter().chain(fields) {
        form += &["\r\n--b\r\nContent-Disposition: form-data; name=\"", name, "\"\r\n\r\n", value].concat();
    }
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    gateway.post("/v1/audio/transcriptions", &headers, form + "\r\n--b--\r\n").await
}

#[tokio::test]
async fn a_transcript_comes_in_every_format_of_openais() {
    let (cloud, gateway) = world().await;
    let answer = transcribe(&gateway, &[("language", "en"), ("diarize", "true"), ("prompt", "names")]).await;
    let told = answer.json();
    assert_eq!(told["text"], "Hi there. (laughs)");
    assert_eq!(told["extra_fields"]["provider"], "elevenlabs", "{told}");
    assert!(told["extra_fields"]["losses"].to_string().contains("/prompt"), "{told}");
    let seen = cloud.seen().pop().or_fail("a request").text();
    for part in [
        "name=\"language_code\"\r\n\r\nen\r\n",
        "name=\"diarize\"\r\n\r\ntrue\r\n",
        "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n-b\r\n--b--",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let verbose = transcribe(&gateway, &[("response_format", "verbose_json")]).await.json();
    assert_eq!((&verbose["language"], &verbose["duration"]), (&json!("eng"), &json!(1.25)), "{verbose}");
    assert_eq!(verbose["words"][1]["word"], "there.", "{verbose}");
    assert_eq!(verbose["words"].as_array().map(Vec::len), Some(2), "a laugh is no word: {verbose}");
    for (format, text) in [
        ("text", "Hi there. (laughs)\n"),
        ("srt", "1\n00:00:00,100 --> 00:00:01,250\nHi there.\n\n"),
        ("vtt", "WEBVTT\n\n00:00:00.100 --> 00:00:01.250\nHi there.\n\n"),
    ] {
        let answer = transcribe(&gateway, &[("response_format", format)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, text), "{format}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{format}: {:?}", answer.headers);
    }
    for fields in [[("stream", "true")], [("response_format", "diarized_json")]] {
        let refused = transcribe(&gateway, &fields).await;
        assert_eq!(refused.status, 400, "{fields:?}: {}", refused.text());
    }
}
