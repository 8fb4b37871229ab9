//! What to try next, ready to be copied.

use std::io;

use crate::screen::{Ink, Screen};
use crate::world::World;

/// A plain `curl`, an OpenAI SDK, an Anthropic SDK: three clients, one gateway, no tools in any of them.
pub(crate) fn show(screen: &mut Screen, world: &World) -> io::Result<()> {
    let base = format!("http://{}", world.address());
    let (first, second) = models(world);
    screen.title("Try next", "the gateway stays up until Ctrl-C; each of these uses the same tools")?;
    for (title, text) in [
        ("curl", curl(&base, first)),
        ("OpenAI SDK, Python (pip install openai)", openai(&base, first)),
        ("Anthropic SDK, Python (pip install anthropic)", anthropic(&base, second)),
    ] {
        screen.line(&format!("\n  {}", screen.paint(Ink::Label, title)))?;
        screen.line(&format!("\n{text}"))?;
    }
    let more =
        "Metrics are at /metrics, health is at /health. Every answer says what the gateway did, in extra_fields.";
    screen.line("")?;
    screen.field("more", more)
}

/// Each simulated provider is asked by a client of the other's dialect, because that works too.
fn models(world: &World) -> (&str, &str) {
    if world.cast.simulated {
        ("anthropic/demo-agent", "openai/demo-agent")
    } else {
        (&world.cast.model, &world.cast.model)
    }
}

fn curl(base: &str, model: &str) -> String {
    format!(
        r#"curl {base}/v1/chat/completions \
  -H 'content-type: application/json' -d '{{
  "model": "{model}",
  "messages": [{{"role": "user", "content": "Is it warmer in Oslo or in Cairo?"}}]
}}'"#
    )
}

fn openai(base: &str, model: &str) -> String {
    format!(
        r#"from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key="not-needed")
stream = client.chat.completions.create(
    model="{model}", stream=True,
    messages=[{{"role": "user", "content": "Is it warmer in Lima or in Boston?"}}])
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)"#
    )
}

fn anthropic(base: &str, model: &str) -> String {
    format!(
        r#"from anthropic import Anthropic
client = Anthropic(base_url="{base}/anthropic", api_key="not-needed")
message = client.messages.create(
    model="{model}", max_tokens=1000,
    messages=[{{"role": "user", "content": "Nairobi or Sydney: which is warmer?"}}])
print(message.content[-1].text)"#
    )
}
