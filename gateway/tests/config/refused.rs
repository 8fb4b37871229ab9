//! What is refused: every line of every complaint, in every format.

use bifrost_gateway::config;
use serde_json::json;

use crate::{check, complaints, environment};

#[test]
fn every_mistake_is_reported_at_once() {
    check(
        "config.json",
        r#"{
  "client": { "enforce_auth_on_inference": "yes", "drop_exces_requests": true },
  "providrs": {},
  "providers": {
    "openai": {
      "base_url": "https://x.example",
      "keys": [
        { "name": "a", "value": "env.NO_KEY", "weigth": 1 },
        { "name": "a", "value": "env.NO_OTHER", "weight": -1 }
      ],
      "network_config": { "retry_backoff_max_ms": "soon", "extra_headers": { "x-a": "env.NO_HEADER" } }
    }
  },
  "mcp": { "client_configs": [ "files", { "name": "b", "connection_type": "htpp", "stdio_config": { "envs": ["NO_ENV"] } } ] },
  "governance": { "virtual_keys": [ { "name": "k", "value": "v" }, { "name": "k", "value": "v" } ] }
}"#,
        r#"
config.json:2:44: /client/enforce_auth_on_inference: expected boolean, got string
config.json:2:51: /client/drop_exces_requests: unknown key; did you mean `drop_excess_requests`?
config.json:3:3: /providrs: unknown key; did you mean `providers`?
config.json:6:7: /providers/openai/base_url: unknown key; it belongs inside `network_config`
config.json:8:33: /providers/openai/keys/0/value: environment variable `NO_KEY` is not set
config.json:8:47: /providers/openai/keys/0/weigth: unknown key; did you mean `weight`?
config.json:9:19: /providers/openai/keys/1/name: the key name `a` is used twice; the first is in line 8
config.json:9:33: /providers/openai/keys/1/value: environment variable `NO_OTHER` is not set
config.json:9:59: /providers/openai/keys/1/weight: expected at least 0, got -1
config.json:11:51: /providers/openai/network_config/retry_backoff_max_ms: expected a length of time such as `30s`, or a whole number, got "soon"
config.json:11:85: /providers/openai/network_config/extra_headers/x-a: environment variable `NO_HEADER` is not set
config.json:14:32: /mcp/client_configs/0: expected object, got string
config.json:14:75: /mcp/client_configs/1/connection_type: unknown value `htpp`; did you mean `http`?
config.json:14:110: /mcp/client_configs/1/stdio_config/envs/0: environment variable `NO_ENV` is not set
config.json:15:78: /governance/virtual_keys/1/name: the virtual key name `k` is used twice; the first is in line 15
config.json:15:92: /governance/virtual_keys/1/value: this value is used twice; the first is in line 15
"#,
    );
}

/// Places in YAML and TOML, and the spelling of the file, not ours.
#[test]
fn every_format_names_its_own_lines() {
    check(
        "bifrost.yaml",
        "client_config:\n  drop_exces_requests: true\n  max_request_body_size_mb: 0\nproviders:\n  openai:\n    keys:\n      - value: env.NO_KEY\n        wieght: 1\n",
        r"
bifrost.yaml:2:3: /client_config/drop_exces_requests: unknown key; did you mean `drop_excess_requests`?
bifrost.yaml:3:29: /client_config/max_request_body_size_mb: expected at least 1, got 0
bifrost.yaml:7:16: /providers/openai/keys/0/value: environment variable `NO_KEY` is not set
bifrost.yaml:8:9: /providers/openai/keys/0/wieght: unknown key; did you mean `weight`?",
    );
    check(
        "bifrost.toml",
        "[client_config]\ndrop_exces_requests = true\nmax_request_body_size_mb = 'x'\n[[providers.openai.keys]]\nvalue = 'env.NO_KEY'\nwieght = 1\n",
        r"
bifrost.toml:2:1: /client_config/drop_exces_requests: unknown key; did you mean `drop_excess_requests`?
bifrost.toml:3:28: /client_config/max_request_body_size_mb: expected integer, got string
bifrost.toml:5:9: /providers/openai/keys/0/value: environment variable `NO_KEY` is not set
bifrost.toml:6:1: /providers/openai/keys/0/wieght: unknown key; did you mean `weight`?",
    );
}

#[test]
fn broken_yaml_and_toml_have_their_line() {
    for (file, text, expected) in [
        ("c.yaml", "client: {}\nclient: {}\n", "c.yaml:2:1: not valid YAML: duplicate mapping key: client"),
        ("c.yaml", "{}\n---\n{}\n", "c.yaml:3:1: not valid YAML: multiple YAML documents detected"),
        ("c.toml", "client = {}\nclient = {}\n", "c.toml:2:1: not valid TOML: duplicate key"),
        (
            "c.toml",
            "version = \n[client\n",
            "c.toml:1:11: not valid TOML: string values must be quoted, expected literal string",
        ),
    ] {
        assert!(complaints(file, text).starts_with(expected), "{}", complaints(file, text));
    }
}

/// One mistake each: the text and the one line that answers it.
fn each(cases: &[(String, &str)]) {
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let got = complaints("c.json", text);
        if got != *expected {
            let shown: String = text.chars().take(200).collect();
            wrong.push(format!("{shown}\n  expected {expected}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn broken_grammar_has_its_line() {
    each(&[
        (String::new(), "c.json: the file is empty; expected at least {}"),
        (" \n\n".into(), "c.json: the file is empty; expected at least {}"),
        ("{\n  \"client\": {,}\n}".into(), "c.json:2:14: not valid JSON: key must be a string"),
        ("{\n".into(), "c.json:2:1: not valid JSON: EOF while parsing an object"),
        ("x".repeat(1 << 20), "c.json:1:1: not valid JSON: expected value"),
        ("[".repeat(1 << 20), "c.json:1:128: not valid JSON: recursion limit exceeded"),
        ("[]".into(), "c.json:1:1: expected object, got array"),
        (
            "{\n \"client\": {},\n \"client\": {}\n}".into(),
            "c.json:3:2: /client: this key is here twice; the first is in line 2",
        ),
        ("\u{feff}{\"clint\": 1}".into(), "c.json:1:2: /clint: unknown key; did you mean `client`?"),
    ]);
}

#[test]
fn wrong_spelling_has_its_line() {
    each(&[
        (
            r#"{"client":{},"client_config":{}}"#.into(),
            "c.json:1:14: /client_config: `client_config` is the former name of `client`, which is here too; keep one of them",
        ),
        (r#"{"version":3}"#.into(), "c.json:1:12: /version: expected at most 2, got 3"),
        (
            r#"{"qqqq":3}"#.into(),
            "c.json:1:2: /qqqq: unknown key; expected one of $schema, client, governance, mcp, providers, version",
        ),
        (
            r#"{"providers":{"openai":{"keys":[{"value":{"vlaue":"x"}}]}}}"#.into(),
            "c.json:1:43: /providers/openai/keys/0/value/vlaue: unknown key; did you mean `value`?",
        ),
        (
            r#"{"providers":{"openai":{"keys":[{"value":7}]}}}"#.into(),
            "c.json:1:42: /providers/openai/keys/0/value: expected a text or `env.NAME`, got number",
        ),
        (
            r#"{"mcp":{"tool_sync_interval":1.5}}"#.into(),
            "c.json:1:30: /mcp/tool_sync_interval: expected a length of time such as `30s`, or a whole number, got number",
        ),
    ]);
}

#[test]
fn wrong_providers_have_their_line() {
    let provider = |rest: &str| format!(r#"{{"providers":{{"openai":{{"keys":[{{"value":"env.X"}}]{rest}}}}}}}"#);
    each(&[
        (
            r#"{"providers":{"opnai":{"keys":[{"value":"env.X"}]}}}"#.into(),
            "c.json:1:15: /providers/opnai: unknown provider `opnai`; did you mean `openai`? (a provider of your own needs `custom_provider_config.base_provider_type`)",
        ),
        (
            r#"{"providers":{"openai":{}}}"#.into(),
            "c.json:1:15: /providers/openai: the provider needs at least one key, such as `\"keys\": [{\"value\": \"env.NAME\"}]`",
        ),
        (
            r#"{"providers":{"openai":{"keys":[{}]}}}"#.into(),
            "c.json:1:33: /providers/openai/keys/0: the key has no `value`; expected a secret, such as `env.NAME`",
        ),
        (
            provider(r#","network_config":{"base_url":"example.com"}"#),
            "c.json:1:81: /providers/openai/network_config/base_url: expected a URL that begins with http:// or https://",
        ),
        (
            provider(r#","network_config":{"retry_backoff_initial_ms":9,"retry_backoff_max_ms":3}"#),
            "c.json:1:122: /providers/openai/network_config/retry_backoff_max_ms: expected at least `retry_backoff_initial`",
        ),
        (
            provider(r#","network_config":{"extra_headers":{"a b":"c"}}"#),
            "c.json:1:93: /providers/openai/network_config/extra_headers/a b: not a valid header name",
        ),
    ]);
}

#[test]
fn wrong_tool_servers_have_their_line() {
    let server = |rest: &str| format!(r#"{{"mcp":{{"client_configs":[{{{rest}}}]}}}}"#);
    let http = r#""connection_type":"http","connection_string":"https://x.example""#;
    each(&[
        (
            server(&format!(r#""name":"a-b",{http}"#)),
            "c.json:1:35: /mcp/client_configs/0/name: the name `a-b` has a `-`, which separates server and tool; expected letters, digits and `_`",
        ),
        (
            server(&format!(r#""name":"1a",{http}"#)),
            "c.json:1:35: /mcp/client_configs/0/name: the name `1a` begins with a digit; expected letters, digits and `_`",
        ),
        (
            server(&format!(r#""name":"ä",{http}"#)),
            "c.json:1:35: /mcp/client_configs/0/name: the name `ä` has a character outside ASCII; expected letters, digits and `_`",
        ),
        (server(http), "c.json:1:27: /mcp/client_configs/0: the tool server has no `name`"),
        (
            server(&format!(r#""name":"a",{http}}},{{"name":"a",{http}"#)),
            "c.json:1:113: /mcp/client_configs/1/name: the tool server name `a` is used twice; the first is in line 1",
        ),
        (
            server(r#""name":"a""#),
            "c.json:1:27: /mcp/client_configs/0: `connection_type` is missing; expected `stdio`, `http` or `sse`",
        ),
        (
            server(r#""name":"a","connection_type":"sse""#),
            "c.json:1:27: /mcp/client_configs/0: `connection_string` is missing; expected the server's URL",
        ),
        (
            server(r#""name":"a","transport":"stdio""#),
            "c.json:1:27: /mcp/client_configs/0: `command` is missing; expected the program to start",
        ),
        (
            server(&format!(r#""name":"a",{http},"tools_to_execute":["x"],"tools_to_auto_execute":["y"]"#)),
            "c.json:1:154: /mcp/client_configs/0/tools_to_auto_execute/0: `y` is not in `tools_to_execute`",
        ),
        (
            server(&format!(r#""name":"a",{http},"tool_execution_timeout":0"#)),
            "c.json:1:129: /mcp/client_configs/0/tool_execution_timeout: expected at least 1 millisecond, such as `30s`; a bare number is nanoseconds here",
        ),
        (
            r#"{"mcp":{"tool_sync_interval":10}}"#.into(),
            "c.json:1:30: /mcp/tool_sync_interval: expected at least 1 second, such as `10m`; a bare number is nanoseconds here",
        ),
    ]);
}

#[test]
fn wrong_virtual_keys_have_their_line() {
    let key = |rest: &str| format!(r#"{{"governance":{{"virtual_keys":[{{"name":"a","value":"v",{rest}}}]}}}}"#);
    each(&[
        (
            key(r#""provider_configs":[{"provider":"openai"}]"#),
            "c.json:1:88: /governance/virtual_keys/0/provider_configs/0/provider: unknown provider `openai`; expected one from /providers",
        ),
        (
            key(r#""mcp_configs":[{"mcp_client_name":"files"}]"#),
            "c.json:1:90: /governance/virtual_keys/0/mcp_configs/0/mcp_client_name: unknown tool server `files`; expected one from /mcp/client_configs",
        ),
        (
            key(r#""budget":{"max_limit":1,"reset_duration":"1x"}"#),
            "c.json:1:97: /governance/virtual_keys/0/budget/reset_duration: expected a window such as `1d`, `1w` or `1M`, got \"1x\"",
        ),
        (
            r#"{"governance":{"virtual_keys":[{"name":"a"}]}}"#.into(),
            "c.json:1:32: /governance/virtual_keys/0: the virtual key has no `value`; expected any text, such as `env.NAME`",
        ),
    ]);
}

#[test]
fn what_is_not_a_readable_file_is_said_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let fails =
        |name: &str| config::load(&directory.path().join(name), &environment).unwrap_err().findings[0].message.clone();
    assert!(fails("absent.json").starts_with("cannot read the file: No such file"));
    std::fs::create_dir(directory.path().join("folder.json")).unwrap();
    assert_eq!(fails("folder.json"), "is a directory; expected a file");
    std::fs::write(directory.path().join("c.ini"), "x").unwrap();
    assert_eq!(fails("c.ini"), "unknown file ending; expected .json, .yaml, .yml or .toml");
    std::fs::write(directory.path().join("utf16.json"), b"\xff\xfe{\0}\0").unwrap();
    assert_eq!(fails("utf16.json"), "the file is UTF-16; save it as UTF-8");
    std::fs::write(directory.path().join("bytes.json"), b"{\"a\": \"\xff\"}").unwrap();
    assert_eq!(fails("bytes.json"), "not UTF-8 text (byte 7)");
}

#[test]
fn thousands_of_mistakes_are_cut_short() {
    let keys: Vec<_> = (0..5000).map(|index| format!("\"nonsense{index}\":1")).collect();
    let said = complaints("c.json", &format!("{{{}}}", keys.join(",")));
    assert_eq!(said.lines().count(), 101);
    assert!(said.ends_with("c.json: and 4900 more"));
}

#[test]
fn check_prints_and_returns_the_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let run = |text: &str| {
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = bifrost_gateway::cli::check(Some(&path), &environment, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (code, out, err) = run(r#"{"providers":{"openai":{"keys":[{"value":"env.X"}]}}}"#);
    assert!(
        code == 0 && out.ends_with("config.json: ok (1 provider, 0 virtual keys, 0 tool servers)\n") && err.is_empty()
    );
    let (code, out, err) = run(r#"{"clinet":{}}"#);
    assert!(code == 2 && out.is_empty() && err.ends_with("/clinet: unknown key; did you mean `client`?\n"), "{err}");
}

#[test]
fn accounts_on_clouds_that_cannot_work_have_their_line() {
    for (provider, key, says) in [
        ("azure", json!({"value": "k"}), "/keys/0/azure_key_config: the key `endpoint` is missing"),
        ("azure", json!({"azure_key_config": {"endpoint": "https://r"}}), "/keys/0: the key has no `value`"),
        (
            "azure",
            json!({"value": "k", "azure_key_config": {"endpoint": "r.openai.azure.com"}}),
            "/endpoint: expected a URL",
        ),
        (
            "azure",
            json!({"azure_key_config": {"endpoint": "https://r", "client_id": "a"}}),
            "Entra ID needs `tenant_id`, `client_id` and `client_secret` together",
        ),
        (
            "vertex",
            json!({"vertex_key_config": {"auth_credentials": "{}", "project_id": "p"}}),
            "the key `region` is missing",
        ),
        (
            "vertex",
            json!({"vertex_key_config": {"auth_credentials": "{}", "region": "r"}}),
            "the key `project_id` is missing",
        ),
        (
            "vertex",
            json!({"vertex_key_config": {"auth_credentials": "{}", "metadata_host": "m", "project_id": "p", "region": "r"}}),
            "`auth_credentials` are here too; keep one of them",
        ),
        (
            "azure",
            json!({"value": "k", "aliases": {"a": "b"}, "azure_key_config": {"endpoint": "https://r", "deployments": {"A": "c"}}}),
            "/deployments/A: `aliases` has `A` too; keep one of them",
        ),
        (
            "bedrock",
            json!({"bedrock_key_config": {"access_key": "a", "region": "r"}}),
            "`access_key` and `secret_key` belong together",
        ),
    ] {
        let config = json!({"providers": {provider: {"keys": [key]}}}).to_string();
        let told = complaints("c.json", &config);
        assert!(told.contains(says), "{config}\n{told}");
    }
}

#[test]
fn proxies_that_cannot_work_have_their_line() {
    let of = |proxy: &str| {
        format!("{{\"providers\":{{\"openai\":{{\"keys\":[{{\"value\":\"k\"}}],\n\"proxy_config\":{proxy}}}}}}}")
    };
    let at = |rest: &str| format!("c.json:2:{rest}");
    for (proxy, complaint) in [
        (
            r#"{"type":"http"}"#,
            at("1: /providers/openai/proxy_config: the key `url` is missing, such as `http://proxy.internal:3128`"),
        ),
        (
            r#"{"url":"https://p:3128"}"#,
            at(
                "23: /providers/openai/proxy_config/url: expected a proxy's address, such as `http://proxy.internal:3128` or \
                `socks5://proxy.internal:1080`",
            ),
        ),
        (
            r#"{"type":"socks5","url":"http://p:3128"}"#,
            at("39: /providers/openai/proxy_config/url: the URL is of another kind of proxy than `type` says"),
        ),
        (
            r#"{"url":"env.NO_PROXY"}"#,
            at("23: /providers/openai/proxy_config/url: environment variable `NO_PROXY` is not set"),
        ),
    ] {
        assert_eq!(complaints("c.json", &of(proxy)).trim(), complaint, "{proxy}");
    }
}
