//! A legacy stdio tool server that misbehaves on request, for the tests of this crate.
//!
//! `toolserver MODE`, where the mode is one of `plain`, `broken`, `hang`, `noisy`, `zero`, `loop`, `endless`, `deaf`, `probe-dies`. It is
//! written by hand, line by line, because a proper SDK would not let it break the rules.

use std::{
    io::{self, BufRead as _, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

#[derive(Default)]
struct Server {
    mode: String,
    lists: AtomicUsize,
    grown: AtomicBool,
    /// Ids of requests that the client cancelled.
    cancelled: Mutex<Vec<Value>>,
}

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let server = Arc::new(Server { mode, ..Server::default() });
    if server.mode == "noisy" {
        let _gone = writeln!(io::stderr(), "starting up");
        let _gone = writeln!(io::stdout(), "Welcome to the noisy server!\n\n{{not json");
    }
    let calls: Vec<_> = io::stdin()
        .lock()
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .map(|message: Value| {
            if server.mode == "deaf" && field(&message, "/method") == "tools/call" {
                thread::sleep(Duration::from_mins(1));
            }
            let server = Arc::clone(&server);
            thread::spawn(move || server.take(&message))
        })
        .collect();
    drop(calls);
}

impl Server {
    fn take(&self, message: &Value) {
        let (method, id) = (field(message, "/method").as_str().unwrap_or_default(), field(message, "/id").clone());
        match (method, self.mode.as_str()) {
            ("notifications/cancelled", _) => {
                if let Ok(mut cancelled) = self.cancelled.lock() {
                    cancelled.push(field(message, "/params/requestId").clone());
                }
            }
            (_, "hang") => {}
            ("server/discover", "probe-dies") => exit(),
            ("initialize", _) => reply(
                &id,
                &json!({
                    "protocolVersion": field(message, "/params/protocolVersion"),
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "toolserver", "version": "1"},
                }),
            ),
            ("tools/list", _) => reply(&id, &self.list()),
            ("tools/call", _) => self.call(&id, field(message, "/params")),
            (_, _) if id.is_null() => {}
            _ => send(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "method not found"}})),
        }
    }

    fn list(&self) -> Value {
        let nth = self.lists.fetch_add(1, Ordering::SeqCst);
        if self.mode == "zero" && nth == 0 {
            return json!({"tools": []});
        }
        let object = json!({"type": "object", "properties": {}});
        let mut tools = vec![json!({"name": "echo", "description": "Says it again.", "inputSchema": {
                "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}})];
        for name in ["slow", "fail", "environment", "big", "die", "grow", "cancelled", "odd", "refuse"] {
            tools.push(json!({"name": name, "inputSchema": object}));
        }
        if self.mode == "broken" {
            tools.insert(0, json!({"name": "no_schema"}));
            tools.insert(1, json!({"name": "boolean_schema", "inputSchema": true}));
            tools.push(json!({"name": "echo", "description": "An impostor.", "inputSchema": object}));
        }
        if self.grown.load(Ordering::SeqCst) {
            tools.push(json!({"name": "grown", "inputSchema": object}));
        }
        match self.mode.as_str() {
            "endless" => {
                let page: Vec<_> =
                    (0..900).map(|at| json!({"name": format!("t{nth}_{at}"), "inputSchema": object})).collect();
                json!({"tools": page, "nextCursor": nth.to_string()})
            }
            "loop" => json!({"tools": tools, "nextCursor": "again"}),
            _ => json!({"tools": tools}),
        }
    }

    fn call(&self, id: &Value, params: &Value) {
        match field(params, "/name").as_str().unwrap_or_default() {
            "echo" => text(id, field(params, "/arguments/text").as_str().unwrap_or_default()),
            "slow" => {
                let until = Instant::now() + Duration::from_mins(1);
                while Instant::now() < until && !self.is_cancelled(id) {
                    thread::sleep(Duration::from_millis(5));
                }
                text(id, "at last");
            }
            "fail" => reply(id, &json!({"content": [{"type": "text", "text": "no such file"}], "isError": true})),
            "environment" => {
                let mut names: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                names.sort();
                text(id, &names.join("\n"));
            }
            "big" => {
                let bytes = field(params, "/arguments/bytes").as_u64().unwrap_or(0);
                big(id, bytes);
            }
            "die" => exit(),
            "grow" => {
                self.grown.store(true, Ordering::SeqCst);
                text(id, "growing");
                for _ in 0..5 {
                    send(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
                }
            }
            "cancelled" => {
                let cancelled = self.cancelled.lock().map(|ids| ids.len()).unwrap_or_default();
                text(id, &cancelled.to_string());
            }
            "odd" => {
                reply(id, &json!({"content": [{"type": "text", "text": "kept"}, {"type": "hologram", "depth": 3}]}));
            }
            _ => send(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "I would rather not"}})),
        }
    }

    fn is_cancelled(&self, id: &Value) -> bool {
        self.cancelled.lock().is_ok_and(|ids| ids.contains(id))
    }
}

fn field<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// A text of so many bytes, written piece by piece: this program would need as much memory as it sends otherwise.
fn big(id: &Value, bytes: u64) {
    let mut out = io::stdout().lock();
    let _gone = write!(out, r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    let _gone = io::copy(&mut io::Read::take(io::repeat(b'x'), bytes), &mut out);
    let _gone = writeln!(out, r#""}}]}}}}"#);
}

fn text(id: &Value, text: &str) {
    reply(id, &json!({"content": [{"type": "text", "text": text}]}));
}

fn reply(id: &Value, result: &Value) {
    send(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
}

fn send(message: &Value) {
    let _gone = writeln!(io::stdout().lock(), "{message}");
}

#[expect(clippy::exit, reason = "dying without a word is what this server is for")]
fn exit() {
    std::process::exit(3)
}
