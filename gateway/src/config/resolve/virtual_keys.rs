//! Resolves `governance.virtual_keys`.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use super::{Names, Resolver, tools_of};
use crate::config::check::nearest;
use crate::config::file::{self, File, ToolClient, VirtualKey};
use crate::config::finding::Mistake;
use crate::config::settings::{ProviderGrant, ProviderSettings, ToolGrant, VirtualKeySettings};
use crate::config::tree::push;

/// What a virtual key's names are looked up in.
struct Known<'a> {
    providers: &'a [ProviderSettings],
    servers: &'a [ToolClient],
}

/// Names, identifiers and values, each of which tells one key from another.
struct Seen {
    names: Names,
    ids: Names,
    values: HashMap<String, usize>,
}

impl Resolver<'_> {
    pub(super) fn virtual_keys(&mut self, file: &File, providers: &[ProviderSettings]) -> Vec<VirtualKeySettings> {
        let known = Known { providers, servers: &file.mcp.client_configs };
        let mut seen =
            Seen { names: Names::of("virtual key name"), ids: Names::of("virtual key id"), values: HashMap::new() };
        let keys = file.governance.virtual_keys.iter().enumerate();
        keys.filter_map(|(index, key)| {
            self.virtual_key(&push("/governance/virtual_keys", index), key, &known, &mut seen)
        })
        .collect()
    }

    fn virtual_key(
        &mut self,
        at: &str,
        key: &VirtualKey,
        known: &Known<'_>,
        seen: &mut Seen,
    ) -> Option<VirtualKeySettings> {
        let name = key.name.as_ref().filter(|name| !name.is_empty());
        match name {
            Some(name) => self.unique(&mut seen.names, &push(at, "name"), name),
            None => self.conflict(at, "the virtual key has no `name`"),
        }
        if let Some(id) = &key.id {
            self.unique(&mut seen.ids, &push(at, "id"), id);
        }
        let value = self.key_value(at, key, &mut seen.values);
        let providers = self.provider_grants(at, key, known.providers);
        let grants = key.mcp_configs.iter().enumerate();
        let tools =
            grants.filter_map(|(index, grant)| self.tool_grant(&push(&push(at, "mcp_configs"), index), grant, known));
        let tools = tools.collect();
        let name = name?.clone();
        Some(VirtualKeySettings {
            id: key.id.clone().unwrap_or_else(|| name.clone()),
            name,
            description: key.description.clone(),
            value: value?,
            is_active: key.is_active,
            providers,
            tools,
        })
    }

    /// Two keys with one value would be one key with two sets of rights. The finding must not show the value.
    fn key_value(&mut self, at: &str, key: &VirtualKey, values: &mut HashMap<String, usize>) -> Option<SecretString> {
        let Some(reference) = &key.value else {
            self.conflict(at, "the virtual key has no `value`; expected any text, such as `env.NAME`");
            return None;
        };
        let pointer = push(at, "value");
        let value = self.secret(&pointer, reference)?;
        let line = self.tree.spot(&pointer).place.line;
        if value.expose_secret().is_empty() {
            self.conflict(&pointer, "the value is empty");
        } else if let Some(first) = values.insert(value.expose_secret().to_owned(), line) {
            let message = format!("this value is used twice; the first is in line {first}");
            self.complain(Mistake::Duplicate, &pointer, message);
        }
        Some(value)
    }

    /// Absent means every provider; so does an empty list, unless `version: 2` says that empty means none.
    fn provider_grants(
        &mut self,
        at: &str,
        key: &VirtualKey,
        providers: &[ProviderSettings],
    ) -> Option<Vec<ProviderGrant>> {
        let configs = key.provider_configs.as_ref()?;
        let at = push(at, "provider_configs");
        let grants: Vec<_> = configs
            .iter()
            .enumerate()
            .filter_map(|(index, config)| self.provider_grant(&push(&at, index), config, providers))
            .collect();
        let all = key.allow_all_providers || (configs.is_empty() && !self.empty_means_none);
        if key.allow_all_providers && !configs.is_empty() {
            let written = self.written(&at);
            self.warn(format!("`{written}` has no effect beside `allow_all_providers: true`"));
        }
        (!all).then_some(grants)
    }

    fn provider_grant(
        &mut self,
        at: &str,
        config: &file::ProviderGrant,
        providers: &[ProviderSettings],
    ) -> Option<ProviderGrant> {
        let Some(name) = &config.provider else {
            self.conflict(at, "`provider` is missing");
            return None;
        };
        let weight = config.weight.map(|weight| self.weight(&push(at, "weight"), weight));
        let Some(provider) = providers.iter().find(|provider| provider.name == *name) else {
            let names = providers.iter().map(|provider| provider.name.as_str());
            self.conflict(&push(at, "provider"), unknown("provider", name, "/providers", names));
            return None;
        };
        Some(ProviderGrant {
            provider: name.clone(),
            weight,
            models: self.models(config.allowed_models.as_ref()),
            blacklisted_models: config.blacklisted_models.clone(),
            key_ids: self.key_ids(&push(at, "key_ids"), &config.key_ids, provider),
        })
    }

    /// Documents name keys by name and by id; only ids leave here.
    fn key_ids(&mut self, at: &str, wanted: &[String], provider: &ProviderSettings) -> Option<Vec<String>> {
        if wanted.is_empty() || wanted.iter().any(|id| id == "*") {
            return None;
        }
        let mut ids = Vec::with_capacity(wanted.len());
        for (index, id) in wanted.iter().enumerate() {
            match provider.keys.iter().find(|key| key.id == *id || key.name == *id) {
                Some(key) => ids.push(key.id.clone()),
                None => self.conflict(&push(at, index), format!("provider `{}` has no key `{id}`", provider.name)),
            }
        }
        Some(ids)
    }

    fn tool_grant(&mut self, at: &str, grant: &file::ToolGrant, known: &Known<'_>) -> Option<ToolGrant> {
        let (key, wanted) = match (&grant.mcp_client_name, &grant.mcp_client_id) {
            (Some(name), _) => ("mcp_client_name", name),
            (None, Some(id)) => ("mcp_client_id", id),
            (None, None) => {
                self.conflict(at, "`mcp_client_name` is missing");
                return None;
            }
        };
        let by_name = key == "mcp_client_name";
        let field = |server: &ToolClient| if by_name { server.name.clone() } else { server.client_id.clone() };
        let Some(server) = known.servers.iter().find(|server| field(server).as_ref() == Some(wanted)) else {
            let names: Vec<_> = known.servers.iter().filter_map(field).collect();
            let names = names.iter().map(String::as_str);
            self.conflict(&push(at, key), unknown("tool server", wanted, "/mcp/client_configs", names));
            return None;
        };
        if grant.tools_to_execute.is_none() {
            let written = self.written(at);
            self.warn(format!("`{written}` grants no tool: it has no `tools_to_execute` (`[\"*\"]` grants all)"));
        }
        let tools = tools_of(grant.tools_to_execute.as_deref().unwrap_or_default());
        Some(ToolGrant { server: server.name.clone()?, tools })
    }
}

fn unknown<'a>(what: &str, name: &str, section: &str, known: impl Iterator<Item = &'a str>) -> String {
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one from {section}"),
    };
    format!("unknown {what} `{name}`; {hint}")
}
