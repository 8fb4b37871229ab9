//! Configuration files as a user meets them: what is accepted, what the settings become, and (in `refused`) every line of every complaint.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod docs;
mod providers;
mod refused;

use std::path::{Path, PathBuf};

use bifrost_gateway::config::{self, ConfigError, Models, Settings, Tools, Transport};
use secrecy::ExposeSecret;

/// A variable is set if its name is upper case and does not begin with `NO`.
fn environment(name: &str) -> Option<String> {
    (!name.starts_with("NO")).then(|| match name {
        "TICKETS_URL" | "A_URL" => "https://tools.example.com/mcp".to_owned(),
        _ => format!("value-of-{name}"),
    })
}

fn load_as(file: &str, text: &str) -> Result<Settings, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    std::fs::write(&path, text).unwrap();
    config::load(&path, &environment)
}

fn load(text: &str) -> Settings {
    load_as("config.json", text).unwrap_or_else(|error| panic!("{error}"))
}

/// The findings as they are printed, without the directory.
fn complaints(file: &str, text: &str) -> String {
    let mut error = load_as(file, text).expect_err("the file is wrong");
    error.file = Some(PathBuf::from(file));
    error.to_string()
}

fn check(file: &str, text: &str, expected: &str) {
    let got = complaints(file, text);
    assert_eq!(got.trim(), expected.trim(), "\n--- got ---\n{got}\n");
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

// === accepted ===

/// The documented snippets, old spellings included.
const DOCUMENTED: &[(&str, &str)] = &[
    ("empty", "{}"),
    (
        "key without name, models empty",
        r#"{"providers":{"openai":{"keys":[{"value":"env.X","models":[],"weight":1.0}]}}}"#,
    ),
    (
        "old names of the network section",
        r#"{"providers":{"openai":{"keys":[{"value":"env.X"}],"network_config":{
                "default_request_timeout_in_seconds":30,"max_retries":3,
                "retry_backoff_initial_ms":100,"retry_backoff_max_ms":2000},
                "concurrency_and_buffer_size":{"concurrency":3,"buffer_size":10}}}}"#,
    ),
    (
        "client, old switches",
        r#"{"client":{"drop_excess_requests":false,"initial_pool_size":300,"enable_logging":true,
                "enable_governance":true,"enforce_governance_header":true,"allow_direct_keys":false,
                "prometheus_labels":["team","environment"]}}"#,
    ),
    ("client_config with litellm", r#"{"client_config":{"enable_litellm_fallbacks":true}}"#),
    (
        "virtual key with a singular budget, also on a provider",
        r#"{"providers":{"openai":{"keys":[{"value":"env.X"}]}},"governance":{"virtual_keys":[{"id":"vk-1","name":"eng",
                "value":"vk_12345","is_active":true,"budget":{"max_limit":100.0,"reset_duration":"1M"},
                "rate_limit":{"token_max_limit":10000,"token_reset_duration":"1h","request_max_limit":100,"request_reset_duration":"1m"},
                "provider_configs":[{"provider":"openai","weight":0.5,"allowed_models":["gpt-4o-mini"],
                "budget":{"max_limit":5,"reset_duration":"1d"}}]}]}}"#,
    ),
    (
        "governance lists",
        r#"{"governance":{"budgets":[{"id":"b","max_limit":10,"reset_duration":"1w","calendar_aligned":true}],
                "rate_limits":[{"id":"r","request_max_limit":5,"request_reset_duration":"1m"}],
                "customers":[{"id":"c","name":"C"}],"teams":[{"id":"t","name":"T","customer_id":"c"}],
                "routing_rules":[{"id":"x","name":"x","cel_expression":"true","targets":[]}]}}"#,
    ),
    (
        "tool servers in the old form",
        r#"{"mcp":{"clients":[{"name":"filesystem","transport":"stdio","command":"npx",
                "args":["-y","@modelcontextprotocol/server-filesystem","/tmp"],"env":{"TOKEN":"env.TOKEN"}}]}}"#,
    ),
    (
        "tool servers in the new form, with grants",
        r#"{"mcp":{"client_configs":[{"name":"search","connection_type":"http","connection_string":"env.A_URL"}],
                "tool_sync_interval":600000000000},
                "governance":{"virtual_keys":[{"name":"a","value":"sk-bf-1",
                "mcp_configs":[{"mcp_client_name":"search","tools_to_execute":["*"]}]}]}}"#,
    ),
    (
        "logs store, port as text",
        r#"{"logs_store":{"enabled":true,"type":"postgres","config":{"host":"localhost","port":"5432","user":"u",
                "password":"p","db_name":"d","ssl_mode":"disable"}}}"#,
    ),
    ("logs store, port as number", r#"{"logs_store":{"enabled":true,"type":"postgres","config":{"port":5432}}}"#),
    (
        "semantic cache",
        r#"{"vector_store":{"enabled":true,"type":"redis","config":{"addr":"localhost:6379"}},
                "plugins":[{"enabled":true,"name":"semantic_cache","config":{"provider":"openai",
                "embedding_model":"text-embedding-3-small","ttl":"5m","threshold":0.8,"conversation_history_threshold":3,
                "cache_by_model":true,"cache_by_provider":true}}]}"#,
    ),
    (
        "providers with blocks of their own",
        r#"{"providers":{"azure":{"keys":[{"value":"env.X","azure_key_config":{"endpoint":"env.A_URL",
                "deployments":{"gpt-4o":"d"},"api_version":"2024-08-01-preview"}}]},
                "vertex":{"keys":[{"vertex_key_config":{"project_id":"env.P","region":"us-central1","auth_credentials":"env.C"}}]},
                "bedrock":{"keys":[{"bedrock_key_config":{"access_key":"env.A","secret_key":"env.S","region":"us-east-1"}}]},
                "ollama":{"keys":[{"ollama_key_config":{"url":"http://localhost:11434"}}]}}}"#,
    ),
    (
        "null is absent",
        r#"{"client":null,"providers":{"openai":{"keys":[{"value":"env.X","models":null}],"proxy_config":null}}}"#,
    ),
    (
        "object form of a secret",
        r#"{"providers":{"openai":{"keys":[{"value":{"value":"","env_var":"X","from_env":true}}]}}}"#,
    ),
    ("enterprise sections", r#"{"guardrails_config":{"a":1},"scim_config":{},"cluster_config":{"enabled":true}}"#),
];

#[test]
fn documented_shapes_are_accepted_as_they_stand() {
    for (name, text) in DOCUMENTED {
        if let Err(error) = load_as("config.json", text) {
            panic!("{name}:\n{error}");
        }
    }
}

#[test]
fn examples_are_good_and_every_format_says_the_same() {
    let mut seen = 0;
    for entry in std::fs::read_dir(repository("examples/config")).unwrap() {
        let path = entry.unwrap().path();
        let settings = config::load(&path, &environment).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.warnings, Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "the examples are gone");

    let json = r#"{"client":{"allowed_origins":["https://a.example"]},"providers":{"openai":{"keys":[{"value":"env.X","weight":0.5}]}}}"#;
    let yaml = "client:\n  allowed_origins: [https://a.example]\nproviders:\n  openai:\n    keys:\n      - value: env.X\n        weight: 0.5\n";
    let toml =
        "[client]\nallowed_origins = ['https://a.example']\n[[providers.openai.keys]]\nvalue = 'env.X'\nweight = 0.5\n";
    let mut all = [("c.json", json), ("c.yaml", yaml), ("c.yml", yaml), ("c.toml", toml)].map(|(file, text)| {
        let mut settings = load_as(file, text).unwrap_or_else(|error| panic!("{error}"));
        settings.origin = None;
        format!("{settings:?}")
    });
    all.sort();
    assert_eq!(all[0], all[3]);
}

// === what the settings become ===

#[test]
fn defaults_are_those_of_the_documents() {
    let settings = load(r#"{"providers":{"openai":{"keys":[{"value":"env.X"}]}}}"#);
    let provider = &settings.providers[0];
    let timeouts = provider.timeouts;
    let seconds = [timeouts.request, timeouts.connect, timeouts.first_byte, timeouts.stream_idle].map(|d| d.as_secs());
    assert_eq!(seconds, [30, 5, 30, 60]);
    assert_eq!(
        (provider.retry.max_retries, provider.retry.initial.as_millis(), provider.retry.max.as_millis()),
        (0, 500, 5000)
    );
    assert_eq!((provider.concurrency, provider.buffer, provider.keyless), (1000, 5000, false));
    let key = &provider.keys[0];
    assert_eq!(
        (key.name.as_str(), key.id.as_str(), key.weight, key.enabled),
        ("openai-key-1", "openai-key-1", 1.0, true)
    );
    assert_eq!(key.value.as_ref().unwrap().expose_secret(), "value-of-X");
    assert_eq!(key.models, Models::All);
    assert_eq!((settings.listen.host.as_str(), settings.listen.port), ("127.0.0.1", 8080));
    assert_eq!(settings.client.max_request_body_bytes, 100_000_000);
    assert!(!settings.client.enforce_auth && settings.client.enable_logging);
    let tools = &settings.tools;
    assert_eq!(
        (tools.call_timeout.as_secs(), tools.max_depth, tools.max_calls, tools.run_deadline.as_secs()),
        (30, 10, 100, 600)
    );
    assert_eq!((tools.max_result_bytes, tools.auto_inject), (262_144, true));
}

#[test]
fn old_spellings_mean_the_same() {
    let settings = load(
        r#"{"client_config":{"enforce_governance_header":true,"mcp_agent_depth":4,"mcp_tool_execution_timeout":7,"mcp_tool_sync_interval":2},
            "providers":{"openai":{"keys":[{"value":"env.X"}],"network_config":{"retry_backoff_initial_ms":100,"retry_backoff_max_ms":2000}}},
            "mcp":{"clients":[{"id":"one","name":"files","transport":"stdio","command":"npx","args":["-y","env.A"],"env":{"T":"env.TOKEN"},"allow_by_default":true}]},
            "governance":{"virtual_keys":[{"name":"k","value":"vk_1"}]}}"#,
    );
    assert!(settings.client.enforce_auth);
    assert_eq!(settings.providers[0].retry.initial.as_millis(), 100);
    assert_eq!((settings.tools.max_depth, settings.tools.call_timeout.as_secs()), (4, 7));
    let server = &settings.tools.servers[0];
    assert_eq!(
        (server.id.as_str(), server.on_all_virtual_keys, server.sync_interval.unwrap().as_secs()),
        ("one", true, 120)
    );
    let Transport::Stdio { command, args, env, .. } = &server.transport else { panic!("{server:?}") };
    assert_eq!(
        (command.as_str(), args[1].expose_secret(), env[0].1.expose_secret()),
        ("npx", "value-of-A", "value-of-TOKEN")
    );
}

#[test]
fn allow_lists_follow_the_version() {
    let models = |version: &str, models: &str| {
        let text = format!(r#"{{{version}"providers":{{"openai":{{"keys":[{{"value":"env.X"{models}}}]}}}}}}"#);
        load(&text).providers[0].keys[0].models.clone()
    };
    let only = Models::Only(vec!["gpt-4o".to_owned()]);
    for (version, list, expected) in [
        ("", "", Models::All),
        ("", r#","models":[]"#, Models::All),
        (r#""version":1,"#, r#","models":[]"#, Models::All),
        (r#""version":2,"#, r#","models":[]"#, Models::None),
        (r#""version":2,"#, "", Models::All),
        (r#""version":2,"#, r#","models":["*"]"#, Models::All),
        (r#""version":2,"#, r#","models":["gpt-4o"]"#, only.clone()),
        ("", r#","models":["gpt-4o"]"#, only),
    ] {
        assert_eq!(models(version, list), expected, "{version} {list}");
    }
}

#[test]
fn tools_are_usable_unless_excluded_and_never_automatic_unless_said() {
    let server = |extra: &str| {
        let text = format!(
            r#"{{"mcp":{{"client_configs":[{{"name":"a","connection_type":"http","connection_string":"env.A_URL"{extra}}}]}}}}"#
        );
        let server = load(&text).tools.servers[0].clone();
        (server.execute, server.auto_execute)
    };
    let only = || Tools::Only(std::iter::once("x".to_owned()).collect());
    assert_eq!(server(""), (Tools::All, Tools::None));
    assert_eq!(server(r#","tools_to_execute":[]"#), (Tools::None, Tools::None));
    assert_eq!(server(r#","tools_to_execute":["x"],"tools_to_auto_execute":["*"]"#), (only(), Tools::All));
    assert_eq!(server(r#","tools_to_execute":["*"],"tools_to_auto_execute":["x"]"#), (Tools::All, only()));
}

#[test]
fn virtual_keys_grant_what_they_say() {
    let grants = |rest: &str| {
        let text = format!(
            r#"{{"providers":{{"openai":{{"keys":[{{"name":"main","id":"k1","value":"env.X"}}]}}}},"governance":{{"virtual_keys":[{{"name":"a","value":"v"{rest}}}]}}}}"#
        );
        load(&text).virtual_keys[0].providers.clone()
    };
    assert_eq!(grants(""), None);
    assert_eq!(grants(r#","provider_configs":[]"#), None);
    assert_eq!(grants(r#","provider_configs":[{"provider":"openai"}],"allow_all_providers":true"#), None);
    let grant = grants(
        r#","provider_configs":[{"provider":"openai","weight":null,"allowed_models":["m"],"key_ids":["main"]}]"#,
    )
    .unwrap();
    assert_eq!((grant[0].weight, &grant[0].models), (None, &Models::Only(vec!["m".to_owned()])));
    assert_eq!(grant[0].key_ids, Some(vec!["k1".to_owned()]));
}

#[test]
fn what_has_no_effect_is_said_once() {
    let settings = load(
        r#"{"governance":{"budgets":[{"id":"b","max_limit":1,"reset_duration":"1d"}],
            "virtual_keys":[{"name":"a","value":"v","budget":{"max_limit":1,"reset_duration":"1d"},"expires_at":null}]},
            "plugins":[],"logs_store":{"enabled":false},"config_store":{"enabled":true,"type":"sqlite","config":{"path":"x"}}}"#,
    );
    let expected: Vec<_> = ["/governance/budgets", "/governance/virtual_keys/0/budget", "/config_store"]
        .map(|path| format!("`{path}` is accepted but has no effect in this version"))
        .into();
    assert_eq!(settings.warnings, expected);
}

#[test]
fn what_an_alias_says_to_another_cloud_is_told() {
    let warnings = |provider: &str, block: &str| {
        let alias = r#"{"model_id":"m","region":"r","endpoint":"https://x","description":"d"}"#;
        let key = format!(r#"{{"value":"v","aliases":{{"a":{alias}}}{block}}}"#);
        load(&format!(r#"{{"providers":{{"{provider}":{{"keys":[{key}]}}}}}}"#)).warnings
    };
    let told = |provider: &str, field: &str| {
        format!("`/providers/{provider}/keys/0/aliases/a/{field}` has no effect at {provider}")
    };
    assert_eq!(warnings("openai", ""), [told("openai", "region"), told("openai", "endpoint")]);
    let vertex = r#","vertex_key_config":{"project_id":"p","region":"us-east5"}"#;
    assert_eq!(warnings("vertex", vertex), [told("vertex", "endpoint")]);
    let azure = r#","azure_key_config":{"endpoint":"https://y"}"#;
    assert_eq!(warnings("azure", azure), [told("azure", "region")]);
}

#[test]
fn a_role_needs_somebody_to_take_it_on() {
    let faults = |block: &str| {
        let key = format!(r#"{{"name":"k","value":"v","bedrock_key_config":{{"region":"r",{block}}}}}"#);
        complaints("config.json", &format!(r#"{{"providers":{{"bedrock":{{"keys":[{key}]}}}}}}"#))
    };
    for (block, word) in [
        (r#""role_arn":"arn:aws:iam::1:role/x""#, "identity"),
        (r#""external_id":"x""#, "role_arn"),
        (r#""access_key":"a","secret_key":"s","role_arn":"x""#, "an ARN"),
        (r#""access_key":"a","secret_key":"s","role_arn":"arn:x","session_name":"a b""#, "2 to 64"),
    ] {
        let told = faults(block);
        assert!(told.contains(word), "{block}: {told}");
    }
}

#[test]
fn without_a_file_the_usual_variables_make_providers() {
    let usual: &[(&str, &[&str])] =
        &[("openai", &["OPENAI_API_KEY"]), ("gemini", &["NO_KEY", "GOOGLE_API_KEY"]), ("xai", &["NOT_SET"])];
    let settings = config::embedded(usual, &environment);
    let names: Vec<_> = settings.providers.iter().map(|p| (p.name.as_str(), p.keys[0].name.as_str())).collect();
    assert_eq!(names, [("openai", "OPENAI_API_KEY"), ("gemini", "GOOGLE_API_KEY")]);
    assert_eq!(settings.warnings, Vec::<String>::new());
    let bare = config::embedded(usual, &|_| None);
    assert!(bare.providers.is_empty() && bare.warnings[0].contains("OPENAI_API_KEY, NO_KEY, NOT_SET"));
}

/// HTTP proxy and exceptions as the settings have them.
fn proxy(config: &str, environment: config::Environment<'_>) -> Option<[String; 3]> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    std::fs::write(
        &path,
        format!(r#"{{"providers":{{"openai":{{"keys":[{{"value":"k"}}],"proxy_config":{config}}}}}}}"#),
    )
    .unwrap();
    let settings = config::load(&path, environment).unwrap_or_else(|error| panic!("{error}"));
    let proxy = settings.providers.first()?.proxy.clone()?;
    let url = |url: Option<secrecy::SecretString>| url.map(|url| url.expose_secret().to_owned()).unwrap_or_default();
    Some([url(proxy.http), url(proxy.https), proxy.except])
}

#[test]
fn proxies_come_from_the_file_or_from_the_environment() {
    let none = |_: &str| None;
    assert_eq!(proxy(r#"{"type":"none","url":"http://p"}"#, &none), None);
    assert_eq!(proxy(r#"{"type":"environment"}"#, &none), None);
    let http = r#"{"type":"http","url":"http://p:3128","username":"us@er","password":"pa:ss"}"#;
    let expected = "http://us%40er:pa%3Ass@p:3128";
    assert_eq!(proxy(http, &none).unwrap(), [expected, expected, ""]);
    let socks = r#"{"url":"socks5://p:1080","username":"u"}"#;
    assert_eq!(proxy(socks, &none).unwrap(), ["socks5://u@p:1080", "socks5://u@p:1080", ""]);
    let from = |pairs: &[(&'static str, &'static str)]| {
        let pairs = pairs.to_vec();
        let variable = move |name: &str| pairs.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        proxy(r#"{"type":"environment"}"#, &variable).unwrap()
    };
    assert_eq!(
        from(&[("https_proxy", "http://small"), ("HTTPS_PROXY", "http://big"), ("NO_PROXY", "a,b")]),
        ["", "http://small", "a,b"]
    );
    assert_eq!(from(&[("ALL_PROXY", "p:3128"), ("HTTP_PROXY", "http://h")]), ["http://h", "http://p:3128", ""]);
}

#[test]
fn strangers_are_warned_about() {
    for (host, warned) in
        [("127.0.0.1", false), ("localhost", false), ("[::1]", false), ("0.0.0.0", true), ("gw.example", true)]
    {
        let mut settings = load("{}");
        settings.listen_on(Some(host.to_owned()), Some(1));
        assert_eq!((settings.warnings.len() == 1, settings.listen.port), (warned, 1), "{host}");
    }
}

/// Every place that can hold a secret holds the canary, and no `Debug` shows it.
#[test]
fn no_secret_is_ever_printed() {
    let text = r#"{"encryption_key":"CANARY",
        "providers":{"openai":{"keys":[{"value":"CANARY"}],"network_config":{"extra_headers":{"x-a":"CANARY"},"ca_cert_pem":"CANARY"},
            "proxy_config":{"type":"http","url":"http://u:CANARY@p","password":"CANARY"}},
            "azure":{"keys":[{"value":"CANARY","azure_key_config":{"endpoint":"https://r","client_id":"a","tenant_id":"t","client_secret":"CANARY"}}]},
            "vertex":{"keys":[{"vertex_key_config":{"project_id":"p","region":"r","auth_credentials":"CANARY"}}]},
            "bedrock":{"keys":[{"bedrock_key_config":{"access_key":"a","secret_key":"CANARY","session_token":"CANARY","region":"r"}}]}},
        "mcp":{"client_configs":[
            {"name":"a","connection_type":"http","connection_string":"https://x.example/?k=CANARY","headers":{"x-a":"CANARY"}},
            {"name":"b","connection_type":"stdio","stdio_config":{"command":"c","args":["CANARY"],"env":{"T":"CANARY"}}}]},
        "governance":{"virtual_keys":[{"name":"a","value":"CANARY"}]},
        "plugins":[{"enabled":true,"name":"maxim","config":{"api_key":"CANARY"}}]}"#;
    let settings = load(text);
    assert!(!format!("{settings:?} {settings:#?}").contains("CANARY"));
    let file: config::file::File = serde_json::from_str(text).unwrap();
    assert!(!format!("{file:?}").contains("CANARY"));
    // Broken in several ways, each next to a secret.
    let broken = text
        .replace("\"b\"", "\"a\"")
        .replacen("\"name\":\"a\",\"value\"", "\"nme\":5,\"value\"", 1)
        .replace("\"c\"", "{\"CANARY_KEY\":1}");
    assert!(!complaints("config.json", &broken).contains("CANARY\""));
    let duplicate = r#"{"governance":{"virtual_keys":[{"name":"a","value":"CANARY"},{"name":"b","value":"CANARY"}]}}"#;
    let duplicate = complaints("config.json", duplicate);
    assert!(duplicate.contains("used twice") && !duplicate.contains("CANARY"), "{duplicate}");
    for (file, cut) in [("c.json", r#"{"a":"CANARY"#), ("c.yaml", "a: 'CANARY\nb: ["), ("c.toml", "a = 'CANARY\n")] {
        let said = complaints(file, cut);
        assert!(!said.contains("CANARY"), "{said}");
    }
}
