//! From a model name to targets: explicit names, bare names, grants, weights and fallbacks.

use bifrost_policies::{Denied, KeyRule, Known, ModelRule, Principal, ProviderGrant, Request, Routed, targets};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn models(list: &[&str]) -> ModelRule {
    if list == ["*"] { ModelRule::All } else { ModelRule::Only(list.iter().map(|&model| model.to_owned()).collect()) }
}

/// Providers with one key each that serves these models; `*` for all.
fn known(providers: &[(&str, &[&str])]) -> Known {
    let mut known = Known::default();
    for (provider, list) in providers {
        known.insert(*provider, &[KeyRule { enabled: true, models: models(list), ..KeyRule::default() }]);
    }
    known
}

/// A grant: provider, weight, models.
type Grant<'a> = (&'a str, Option<f64>, &'a [&'a str]);

/// A virtual key with these grants.
fn holder(grants: &[Grant<'_>]) -> Principal {
    let grants = grants.iter().map(|(provider, weight, list)| ProviderGrant {
        provider: (*provider).to_owned(),
        weight: *weight,
        allowed_models: models(list),
        ..ProviderGrant::default()
    });
    Principal { provider_grants: Some(grants.collect()), is_active: true, ..Principal::default() }
}

fn route(request: &Request<'_>, principal: Option<&Principal>, known: &Known) -> Result<Routed, Denied> {
    targets(request, principal, known, &mut StdRng::seed_from_u64(3))
}

fn spell(routed: &Routed) -> String {
    let spelt: Vec<String> = routed
        .targets
        .iter()
        .enumerate()
        .inspect(|(at, target)| assert_eq!(target.fallback_index, *at))
        .map(|(_, target)| format!("{} {}", target.provider, target.model))
        .collect();
    spelt.join(", ")
}

/// Routes and spells the outcome as `provider model, provider model` or as the refusal's text.
fn outcome(request: &Request<'_>, principal: Option<&Principal>, known: &Known) -> String {
    match route(request, principal, known) {
        Ok(routed) => spell(&routed),
        Err(denied) => denied.to_string(),
    }
}

const FORMAT: &str = "model must be in the format 'provider/model'";

/// Who has a name of its own for a model is who is meant by that name.
#[test]
fn an_alias_names_its_provider() {
    let mut known = known(&[("openai", &["*"]), ("azure", &["*"])]);
    let aliased = KeyRule { enabled: true, models: models(&["*"]), aliases: vec!["fast".into()], ..KeyRule::default() };
    known.insert("groq", &[aliased]);
    let request = Request { model: "fast", ..Request::default() };
    assert_eq!(spell(&route(&request, None, &known).unwrap()), "groq fast");
    assert!(route(&Request { model: "slow", ..request }, None, &known).is_err());
}

#[test]
fn names_are_split_at_the_first_slash_if_a_provider_is_in_front() {
    let known = known(&[("openai", &["*"]), ("openrouter", &["*"]), ("local", &["llama", "meta-llama/Llama-4"])]);
    let unknown = "unknown provider 'meta-llama'; known providers: local, openai, openrouter";
    let no_openia = "unknown provider 'openia'; known providers: local, openai, openrouter";
    let table = [
        // model, body's provider, route's provider, outcome
        ("openai/gpt-4o", None, None, "openai gpt-4o"),
        (" openai/gpt-4o ", None, None, "openai gpt-4o"),
        ("openrouter/meta/llama", None, None, "openrouter meta/llama"),
        ("openai/gpt-4o", None, Some("local"), "openai gpt-4o"),
        ("gpt-4o", Some("openai"), None, "openai gpt-4o"),
        ("gpt-4o", Some("openai"), Some("local"), "openai gpt-4o"),
        ("openai/gpt-4o", Some("openrouter"), None, "openrouter openai/gpt-4o"),
        ("gpt-4o", Some(""), Some("openai"), "openai gpt-4o"),
        ("gpt-4o", Some("openia"), None, no_openia),
        ("gpt-4o", None, Some("openai"), "openai gpt-4o"),
        ("meta-llama/Llama-3", None, Some("openai"), "openai meta-llama/Llama-3"),
        ("meta-llama/Llama-3", None, None, unknown),
        ("meta-llama/Llama-4", None, None, "local meta-llama/Llama-4"),
        ("llama", None, None, "local llama"),
        ("LLAMA", None, None, "local LLAMA"),
        ("gpt-4o", None, None, FORMAT),
        ("gpt-4o", None, Some("openia"), no_openia),
        ("openai/", None, None, FORMAT),
        ("/gpt-4o", None, None, FORMAT),
        ("/", None, None, FORMAT),
        ("", None, None, "model cannot be empty"),
        ("  ", Some("openai"), None, "model cannot be empty"),
    ];
    for (model, provider, default_provider, expected) in table {
        let request = Request { model, provider, default_provider, fallbacks: &[] };
        assert_eq!(outcome(&request, None, &known), expected, "{request:?}");
        let everything = Principal { is_active: true, ..Principal::default() };
        assert_eq!(outcome(&request, Some(&everything), &known), expected, "unrestricted key: {request:?}");
    }
}

#[test]
fn a_bare_model_goes_to_the_only_provider_in_question() {
    let bare = |model| Request { model, ..Request::default() };
    let one = known(&[("openai", &["*"])]);
    assert_eq!(outcome(&bare("gpt-4o"), None, &one), "openai gpt-4o");
    assert_eq!(outcome(&bare("foo/bar"), None, &one), "unknown provider 'foo'; known providers: openai");
    let two = known(&[("openai", &["gpt-4o"]), ("azure", &["gpt-4o", "o3"])]);
    assert_eq!(outcome(&bare("o3"), None, &two), "azure o3");
    assert_eq!(outcome(&bare("gpt-4o"), None, &two), FORMAT, "two providers name it");
    assert_eq!(outcome(&bare("gpt-4o"), None, &Known::default()), FORMAT);
    let mut keyless = Known::default();
    keyless.insert("ollama", &[]);
    assert_eq!(outcome(&bare("llama3"), None, &keyless), "ollama llama3");
}

#[test]
fn explicit_names_are_checked_against_the_grants() {
    let known = known(&[("openai", &["*"]), ("azure", &["*"]), ("anthropic", &["*"])]);
    let key = holder(&[("openai", None, &["gpt-4o"]), ("azure", Some(1.0), &["*"])]);
    let table = [
        ("openai/gpt-4o", "openai gpt-4o"),
        ("azure/anything", "azure anything"),
        ("openai/o3", "model 'o3' is not allowed for this virtual key on provider 'openai'"),
        ("anthropic/claude", "provider 'anthropic' is not allowed for this virtual key"),
        ("opnai/gpt-4o", "unknown provider 'opnai'; known providers: azure, openai"),
    ];
    for (model, expected) in table {
        assert_eq!(outcome(&Request { model, ..Request::default() }, Some(&key), &known), expected);
    }
    let split = Request { model: "claude", provider: Some("anthropic"), ..Request::default() };
    assert_eq!(route(&split, Some(&key), &known).unwrap_err().status(), 403);
    let nothing = holder(&[]);
    for model in ["gpt-4o", "openai/gpt-4o"] {
        let request = Request { model, ..Request::default() };
        assert_eq!(route(&request, Some(&nothing), &known).unwrap_err().status(), 403, "an empty list grants nothing");
    }
}

#[test]
fn a_virtual_keys_weights_place_a_bare_model() {
    let known = known(&[("openai", &["*"]), ("azure", &["*"])]);
    let key = holder(&[("openai", Some(0.2), &["gpt-4o", "gpt-4o-mini"]), ("azure", Some(0.8), &["gpt-4o"])]);
    let mut rng = StdRng::seed_from_u64(11);
    let mut on_azure = 0;
    for _ in 0..10_000 {
        let request = Request { model: "gpt-4o", default_provider: Some("openai"), ..Request::default() };
        match spell(&targets(&request, Some(&key), &known, &mut rng).unwrap()).as_str() {
            "azure gpt-4o, openai gpt-4o" => on_azure += 1,
            "openai gpt-4o, azure gpt-4o" => {}
            other => panic!("{other}"),
        }
    }
    assert!((7_800..8_200).contains(&on_azure), "{on_azure}");
    let mini = |model| Request { model, ..Request::default() };
    assert_eq!(outcome(&mini("gpt-4o-mini"), Some(&key), &known), "openai gpt-4o-mini");
    assert_eq!(outcome(&mini("openai/gpt-4o"), Some(&key), &known), "openai gpt-4o", "an explicit name is not drawn");
    assert_eq!(outcome(&mini("o3"), Some(&key), &known), "model 'o3' is not allowed for this virtual key");
}

#[test]
fn generated_fallbacks_come_heaviest_first_and_only_without_the_callers_own() {
    let known = known(&[("a", &["*"]), ("b", &["*"]), ("c", &["*"]), ("d", &["*"]), ("e", &["o3"])]);
    let key = holder(&[
        ("a", Some(0.001), &["m"]),
        ("b", Some(1e9), &["m"]),
        ("c", Some(0.002), &["m"]),
        ("d", None, &["m"]),
        ("e", Some(5.0), &["m"]),
        ("gone", Some(5.0), &["m"]),
    ]);
    let bare = Request { model: "m", ..Request::default() };
    assert_eq!(
        outcome(&bare, Some(&key), &known),
        "b m, c m, a m",
        "d has no weight, e no key for it, the last is not there"
    );
    let own = ["d/m".to_owned()];
    assert_eq!(outcome(&Request { fallbacks: &own, ..bare }, Some(&key), &known), "b m, d m");
    assert_eq!(outcome(&Request { model: "d/m", ..bare }, Some(&key), &known), "d m");
}

#[test]
fn without_weights_the_only_granted_provider_in_question_answers() {
    let known = known(&[("openai", &["*"]), ("azure", &["gpt-4o"]), ("local", &["org/llama"])]);
    let bare = |model| Request { model, ..Request::default() };
    let one = holder(&[("openai", None, &["*"])]);
    assert_eq!(outcome(&bare("gpt-4o"), Some(&one), &known), "openai gpt-4o");
    assert_eq!(outcome(&bare("opnai/gpt-4o"), Some(&one), &known), "unknown provider 'opnai'; known providers: openai");
    let two = holder(&[("openai", None, &["*"]), ("azure", Some(0.0), &["*"]), ("local", None, &["*"])]);
    assert_eq!(outcome(&bare("gpt-4o"), Some(&two), &known), "azure gpt-4o", "the one whose key names it");
    assert_eq!(outcome(&bare("o3"), Some(&two), &known), "openai o3", "the one with a key for it");
    assert_eq!(outcome(&bare("org/llama"), Some(&two), &known), "local org/llama");
    let both = holder(&[("openai", None, &["gpt-4o"]), ("azure", None, &["gpt-4o"])]);
    assert_eq!(outcome(&bare("gpt-4o"), Some(&both), &known), FORMAT);
}

#[test]
fn a_routes_provider_answers_unless_the_virtual_key_says_otherwise() {
    let known = known(&[("openai", &["*"]), ("anthropic", &["*"]), ("azure", &["*"])]);
    let on_anthropic = Request { model: "claude", default_provider: Some("anthropic"), ..Request::default() };
    let table: [(&[Grant<'_>], &str); 6] = [
        (&[("openai", Some(9.0), &["*"]), ("anthropic", Some(1.0), &["*"])], "anthropic claude"),
        (&[("openai", Some(9.0), &["gpt-4o"]), ("anthropic", None, &["*"])], "anthropic claude"),
        (&[("azure", Some(1e9), &["claude"]), ("anthropic", Some(1e-9), &["*"])], "azure claude, anthropic claude"),
        (&[("azure", Some(1.0), &["claude"])], "azure claude"),
        (&[("azure", None, &["claude"]), ("anthropic", None, &["claude"])], "anthropic claude"),
        (&[("azure", Some(1.0), &["gpt-4o"])], "provider 'anthropic' is not allowed for this virtual key"),
    ];
    for (grants, expected) in table {
        assert_eq!(outcome(&on_anthropic, Some(&holder(grants)), &known), expected, "{grants:?}");
    }
    let blocked = holder(&[("anthropic", Some(1.0), &["claude-2"])]);
    assert_eq!(
        outcome(&on_anthropic, Some(&blocked), &known),
        "model 'claude' is not allowed for this virtual key on provider 'anthropic'"
    );
}

#[test]
fn useless_fallbacks_are_dropped_and_reported() {
    let known = known(&[("openai", &["*"]), ("azure", &["*"]), ("anthropic", &["*"])]);
    let key = holder(&[("openai", None, &["*"]), ("azure", None, &["gpt-4o"])]);
    let fallbacks: Vec<String> = [
        "gpt-4o",
        "azure/",
        "nowhere/m",
        "anthropic/claude",
        "azure/o3",
        "azure/gpt-4o",
        "openai/o3",
        "azure/gpt-4o",
        "",
    ]
    .map(str::to_owned)
    .into();
    let request = Request { model: "openai/gpt-4o", fallbacks: &fallbacks, ..Request::default() };
    let routed = route(&request, Some(&key), &known).unwrap();
    assert_eq!(spell(&routed), "openai gpt-4o, azure gpt-4o, openai o3");
    let dropped: Vec<(&str, &str)> =
        routed.dropped.iter().map(|dropped| (dropped.fallback.as_str(), dropped.reason.as_str())).collect();
    assert_eq!(
        dropped,
        [
            ("gpt-4o", FORMAT),
            ("azure/", FORMAT),
            ("nowhere/m", "unknown provider 'nowhere'; known providers: azure, openai"),
            ("anthropic/claude", "provider 'anthropic' is not allowed for this virtual key"),
            ("azure/o3", "model 'o3' is not allowed for this virtual key on provider 'azure'"),
            ("azure/gpt-4o", "it is already among the targets"),
            ("", FORMAT),
        ]
    );
    let many: Vec<String> = (0..40).map(|number| format!("openai/m{number}")).collect();
    let flooded = route(&Request { fallbacks: &many, ..request }, None, &known).unwrap();
    assert_eq!((flooded.targets.len(), flooded.dropped.len()), (17, 24));
    let refused = Request { model: "anthropic/claude", ..request };
    assert_eq!(
        route(&refused, Some(&key), &known).unwrap_err().kind(),
        "provider_blocked",
        "fallbacks do not get round it"
    );
}

const PROVIDERS: [&str; 4] = ["openai", "azure", "local", "gone"];
const MODELS: [&str; 4] = ["m", "n", "org/m", "*"];

fn grants() -> impl Strategy<Value = Option<Vec<ProviderGrant>>> {
    let grant = (
        prop::sample::select(PROVIDERS.to_vec()),
        prop::option::of(0.0..2.0_f64),
        prop::sample::subsequence(MODELS.to_vec(), 0..=3),
        prop::sample::subsequence(vec!["m", "org/m"], 0..=1),
    );
    let grant = grant.prop_map(|(provider, weight, allowed, blacklisted)| ProviderGrant {
        provider: provider.to_owned(),
        weight,
        allowed_models: if allowed.contains(&"*") { ModelRule::All } else { models(&allowed) },
        blacklisted_models: blacklisted.into_iter().map(str::to_owned).collect(),
        key_ids: None,
    });
    prop::option::weighted(0.8, prop::collection::vec(grant, 0..5))
}

fn names() -> impl Strategy<Value = String> {
    let prefix = prop::sample::select(vec!["", "/", "openai/", "azure/", "gone/", "other/"]);
    let model = prop::sample::select(vec!["", "m", "n", "org/m", "M"]);
    prop_oneof![(prefix, model).prop_map(|(prefix, model)| format!("{prefix}{model}")), "\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_target_is_known_granted_unique_and_none_is_lost(
        grants in grants(), model in names(), fallbacks in prop::collection::vec(names(), 0..5),
        provider in prop::option::weighted(0.2, prop::sample::select(PROVIDERS.to_vec())),
        default_provider in prop::option::of(prop::sample::select(PROVIDERS.to_vec())), seed: u64,
    ) {
        let known = known(&[("openai", &["*"]), ("azure", &["m", "org/m"]), ("local", &["n"])]);
        let principal = Principal { provider_grants: grants, ..Principal::default() };
        let request = Request { model: &model, provider, default_provider, fallbacks: &fallbacks };
        let routed = targets(&request, Some(&principal), &known, &mut StdRng::seed_from_u64(seed));
        let Ok(routed) = routed else { return Ok(()) };
        for (at, target) in routed.targets.iter().enumerate() {
            prop_assert!(known.find(&target.provider).is_some());
            prop_assert!(!target.model.is_empty());
            prop_assert!(principal.grant(&target.provider, &target.model).is_ok(), "{target:?}");
            prop_assert_eq!(target.fallback_index, at);
            let same = |other: &&bifrost_policies::Target| other.provider == target.provider && other.model == target.model;
            prop_assert_eq!(routed.targets.iter().filter(same).count(), 1);
        }
        prop_assert!(!routed.targets.is_empty());
        if !fallbacks.is_empty() {
            prop_assert_eq!(routed.targets.len() + routed.dropped.len(), 1 + fallbacks.len());
        }
    }
}
