//! What every adapter must show, against a real Consul.

mod common;

use common::ConsulFixture;

mainstem_test_support::adapter_battery!(ConsulFixture::start().await);

mod from_the_agents_cache {
    use super::ConsulFixture;

    mainstem_test_support::adapter_battery!(ConsulFixture::cached().await);
}
