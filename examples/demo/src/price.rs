//! What tokens cost: the providers' list prices of the models that the demo knows.

use crate::stream::Tokens;

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    /// The model whose list price this is.
    pub(crate) model: &'static str,
    pub(crate) input: f64,
    /// Input that was read from the provider's prompt cache.
    pub(crate) cached: f64,
    pub(crate) output: f64,
}

/// List prices as published on openai.com/api/pricing and on claude.com/pricing. A longer name comes before its prefix.
const PRICES: &[Price] = &[
    Price { model: "gpt-4o-mini", input: 0.15, cached: 0.075, output: 0.60 },
    Price { model: "gpt-4o", input: 2.50, cached: 1.25, output: 10.00 },
    Price { model: "claude-haiku-4-5", input: 1.00, cached: 0.10, output: 5.00 },
    Price { model: "claude-sonnet-4-5", input: 3.00, cached: 0.30, output: 15.00 },
];

/// The model whose price is shown for a simulated one, which costs nothing.
const STAND_IN: &str = "claude-haiku-4-5";

impl Price {
    /// The list price of `provider/model`, where it is known.
    pub(crate) fn of(model: &str) -> Option<&'static Self> {
        let name = model.split_once('/').map_or(model, |(_, name)| name);
        PRICES.iter().find(|price| name.starts_with(price.model))
    }

    /// The price that stands in for a simulated model's.
    pub(crate) fn stand_in() -> Option<&'static Self> {
        Self::of(STAND_IN)
    }

    /// US dollars for these tokens.
    pub(crate) fn cost(&self, tokens: Tokens) -> f64 {
        let cached = tokens.cached.min(tokens.input);
        (dollars(tokens.input - cached, self.input)
            + dollars(cached, self.cached)
            + dollars(tokens.output, self.output))
            / 1e6
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of tokens is far below 2^52")]
fn dollars(tokens: u64, per_token: f64) -> f64 {
    tokens as f64 * per_token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_the_price_of_the_longest_name_it_begins_with() {
        let model = |name: &str| Price::of(name).map(|price| price.model);
        assert_eq!(model("openai/gpt-4o-mini-2024-07-18"), Some("gpt-4o-mini"));
        assert_eq!(model("gpt-4o"), Some("gpt-4o"));
        assert_eq!(model("anthropic/claude-haiku-4-5-20251001"), Some("claude-haiku-4-5"));
        assert_eq!(model("openai/demo-agent"), None);
        assert!(Price::stand_in().is_some());
    }

    #[test]
    fn cached_input_is_cheaper() {
        let price = Price::of("claude-haiku-4-5").unwrap();
        let cost = price.cost(Tokens { input: 1_000_000, cached: 500_000, output: 100_000 });
        assert!((cost - (0.5 + 0.05 + 0.5)).abs() < 1e-9, "{cost}");
    }
}
