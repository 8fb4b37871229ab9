//! What a principal may use: providers, models, and which of a provider's keys.
//!
//! Tools are not decided here: tool selection sees every rule that narrows them (server, headers, virtual key) and is their
//! one owner; it is handed [`crate::ToolRights`].

use crate::denied::Denied;
use crate::principal::{Principal, ProviderGrant};

/// Which models are allowed. Names are compared whole and without regard to ASCII case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelRule {
    /// Every model.
    All,
    /// No model. The default, so that a rule that was forgotten grants nothing.
    #[default]
    None,
    /// These models.
    Only(Vec<String>),
}

// === impl ModelRule ===

impl ModelRule {
    /// Whether the rule lets this model through.
    pub fn allows(&self, model: &str) -> bool {
        matches!(self, Self::All) || self.names(model)
    }

    /// Whether the rule mentions this very model: a stronger statement than letting every model through.
    pub fn names(&self, model: &str) -> bool {
        match self {
            Self::Only(models) => models.iter().any(|name| name.eq_ignore_ascii_case(model)),
            Self::All | Self::None => false,
        }
    }
}

/// Whether a list of refused models has this one. `*` refuses everything: whoever writes it does not mean nothing by it.
pub(crate) fn blacklists(list: &[String], model: &str) -> bool {
    list.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(model))
}

// === impl ProviderGrant ===

impl ProviderGrant {
    /// Whether the grant covers this model.
    pub fn allows_model(&self, model: &str) -> bool {
        self.allowed_models.allows(model) && !blacklists(&self.blacklisted_models, model)
    }
}

// === impl Principal ===

impl Principal {
    /// The grant under which this principal uses `model` on `provider`; `None` when it may use everything.
    ///
    /// # Errors
    /// [`Denied::ProviderBlocked`] when no grant names the provider, [`Denied::ModelBlocked`] when none that does covers the
    /// model.
    pub fn grant(&self, provider: &str, model: &str) -> Result<Option<&ProviderGrant>, Denied> {
        let Some(grants) = &self.provider_grants else { return Ok(None) };
        let mut of_provider = grants.iter().filter(|grant| grant.provider == provider).peekable();
        if of_provider.peek().is_none() {
            return Err(Denied::ProviderBlocked { provider: provider.to_owned() });
        }
        match of_provider.find(|grant| grant.allows_model(model)) {
            Some(grant) => Ok(Some(grant)),
            None => Err(Denied::ModelBlocked { model: model.to_owned(), provider: Some(provider.to_owned()) }),
        }
    }

    /// Whether any grant names this provider; always where there are no grants.
    pub fn may_use(&self, provider: &str) -> bool {
        self.provider_grants.as_ref().is_none_or(|grants| grants.iter().any(|grant| grant.provider == provider))
    }

    /// Whether any grant of this provider has this key of it, by its id: what names no model is under no other rule.
    pub fn may_use_key(&self, provider: &str, key_id: &str) -> bool {
        let has = |ids: &[String]| ids.iter().any(|id| id == key_id);
        let grants = |grant: &ProviderGrant| grant.provider == provider && grant.key_ids.as_deref().is_none_or(has);
        self.provider_grants.as_ref().is_none_or(|all| all.iter().any(grants))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(models: &[&str]) -> ModelRule {
        ModelRule::Only(models.iter().map(|&model| model.to_owned()).collect())
    }

    #[test]
    fn model_rules_compare_whole_names_without_case() {
        let table = [
            (ModelRule::All, "anything", true, false),
            (ModelRule::None, "anything", false, false),
            (only(&[]), "gpt-4o", false, false),
            (only(&["gpt-4o"]), "gpt-4o", true, true),
            (only(&["gpt-4o"]), "GPT-4o", true, true),
            (only(&["gpt-4o"]), "gpt-4o-mini", false, false),
            (only(&["gpt-4o-mini"]), "gpt-4o", false, false),
        ];
        for (rule, model, allows, names) in table {
            assert_eq!((rule.allows(model), rule.names(model)), (allows, names), "{rule:?} {model}");
        }
        assert_eq!(ModelRule::default(), ModelRule::None, "what was forgotten grants nothing");
    }

    #[test]
    fn grants_decide_provider_first_then_model() {
        let openai = |models: &[&str], key: &str| ProviderGrant {
            provider: "openai".into(),
            allowed_models: only(models),
            key_ids: Some(vec![key.to_owned()]),
            ..ProviderGrant::default()
        };
        let principal = Principal {
            provider_grants: Some(vec![openai(&["gpt-4o"], "a"), openai(&["o3"], "b")]),
            ..Principal::default()
        };
        let keys = |model: &str| {
            principal
                .grant("openai", model)
                .map(|grant| grant.and_then(|grant| grant.key_ids.clone()).unwrap_or_default())
        };
        assert_eq!(keys("gpt-4o"), Ok(vec!["a".to_owned()]));
        assert_eq!(keys("o3"), Ok(vec!["b".to_owned()]), "a provider may be granted twice, with different keys");
        assert_eq!(keys("o1"), Err(Denied::ModelBlocked { model: "o1".into(), provider: Some("openai".into()) }));
        assert_eq!(principal.grant("azure", "gpt-4o"), Err(Denied::ProviderBlocked { provider: "azure".into() }));
        let nothing = Principal { provider_grants: Some(Vec::new()), ..Principal::default() };
        assert!(nothing.grant("openai", "gpt-4o").is_err(), "an empty list grants nothing");
        assert_eq!(Principal::default().grant("openai", "gpt-4o"), Ok(None), "no list grants everything");
    }

    #[test]
    fn a_blacklist_wins_over_every_rule() {
        let grant = |blacklisted: &str| ProviderGrant {
            allowed_models: ModelRule::All,
            blacklisted_models: vec![blacklisted.to_owned()],
            ..ProviderGrant::default()
        };
        assert!(!grant("O3").allows_model("o3"));
        assert!(grant("o3").allows_model("o3-mini"));
        assert!(!grant("*").allows_model("o3-mini"));
    }
}
