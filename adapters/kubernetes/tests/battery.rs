//! The facts that every adapter shows, against a real API server.

mod common;

use common::KubernetesFixture;

mainstem_test_support::adapter_battery! {
    KubernetesFixture::shared().await;
    first_sync
    add
    update
    delete
    malformed_item_among_good_ones
    malformed_item_at_the_first_sync
    lost_connection
    slow_answer
    shutdown_in_the_middle_of_a_request
}

mod forgetful {
    use super::*;

    mainstem_test_support::adapter_battery! {
        KubernetesFixture::forgetful().await;
        relist_after_a_gap
    }
}
