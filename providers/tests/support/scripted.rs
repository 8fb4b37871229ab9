//! The way to a scripted provider.

use std::sync::Arc;
use std::time::Duration;

use bifrost_fixtures::Upstream;
use bifrost_providers::catalog;
use bifrost_providers::provider::{Provider, ProviderSettings};
use bifrost_providers::transport::{Timeouts, Transport, TransportSettings};

const PATIENCE: Duration = Duration::from_secs(10);

/// The provider of this row, which is played by `upstream`.
pub(crate) fn provider(row: &str, upstream: &Upstream) -> Provider {
    let transport = Transport::new(&TransportSettings {
        connect_timeout: PATIENCE,
        pool_idle: PATIENCE,
        max_idle_per_host: 4,
        http2_only: false,
        ca_cert_pem: None,
        insecure_skip_verify: false,
        address_allowed: Arc::new(|ip| ip.is_loopback()),
        proxy: None,
        background: Arc::new(drop),
        shards: 1,
    });
    let settings = ProviderSettings {
        name: row.into(),
        row: *catalog::row(row).unwrap(),
        base_url: Some(upstream.url()),
        places: vec![],
        extra_headers: vec![],
        path_overrides: vec![],
        keyless: false,
        timeouts: Timeouts { first_byte: PATIENCE, idle: PATIENCE, total: Some(PATIENCE) },
        transport: Arc::new(transport.unwrap()),
    };
    Provider::new(settings).unwrap()
}
