//! Generates Rust from the descriptors of Envoy's API.
//!
//! The package `envoy-types` carries the whole API as one compiled
//! `FileDescriptorSet`. It is read from there rather than copied, pruned to
//! [`ROOTS`] and what they import, and compiled with maps in key order. The
//! unpruned set goes beside the code, for reflection over any extension.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use cargo_metadata::MetadataCommand;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Path of the descriptor set inside the package `envoy-types`.
const DESCRIPTORS: &str = "src/generated/types.bin";

/// Paths whose files get Rust code, together with everything that they import.
/// Each must match a file, so that a renamed directory is noticed.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/",
    "envoy/config/accesslog/v3/",
    "envoy/config/bootstrap/v3/",
    "envoy/config/cluster/v3/",
    "envoy/config/core/v3/",
    "envoy/config/endpoint/v3/",
    "envoy/config/listener/v3/",
    "envoy/config/metrics/v3/",
    "envoy/config/ratelimit/v3/",
    "envoy/config/rbac/v3/",
    "envoy/config/route/v3/",
    "envoy/config/trace/v3/",
    "envoy/extensions/access_loggers/file/v3/",
    "envoy/extensions/access_loggers/grpc/v3/",
    "envoy/extensions/access_loggers/open_telemetry/v3/",
    "envoy/extensions/access_loggers/stream/v3/",
    "envoy/extensions/bootstrap/internal_listener/v3/",
    "envoy/extensions/clusters/aggregate/v3/",
    "envoy/extensions/clusters/dns/v3/",
    "envoy/extensions/clusters/original_dst/v3/",
    "envoy/extensions/compression/brotli/compressor/v3/",
    "envoy/extensions/compression/gzip/compressor/v3/",
    "envoy/extensions/compression/zstd/compressor/v3/",
    "envoy/extensions/filters/common/set_filter_state/v3/",
    "envoy/extensions/filters/http/compressor/v3/",
    "envoy/extensions/filters/http/cors/v3/",
    "envoy/extensions/filters/http/ext_authz/v3/",
    "envoy/extensions/filters/http/fault/v3/",
    "envoy/extensions/filters/http/grpc_stats/v3/",
    "envoy/extensions/filters/http/grpc_web/v3/",
    "envoy/extensions/filters/http/health_check/v3/",
    "envoy/extensions/filters/http/jwt_authn/v3/",
    "envoy/extensions/filters/http/local_ratelimit/v3/",
    "envoy/extensions/filters/http/on_demand/v3/",
    "envoy/extensions/filters/http/ratelimit/v3/",
    "envoy/extensions/filters/http/rbac/v3/",
    "envoy/extensions/filters/http/router/v3/",
    "envoy/extensions/filters/http/set_filter_state/v3/",
    "envoy/extensions/filters/http/stateful_session/v3/",
    "envoy/extensions/filters/listener/http_inspector/v3/",
    "envoy/extensions/filters/listener/original_dst/v3/",
    "envoy/extensions/filters/listener/original_src/v3/",
    "envoy/extensions/filters/listener/proxy_protocol/v3/",
    "envoy/extensions/filters/listener/tls_inspector/v3/",
    "envoy/extensions/filters/network/connection_limit/v3/",
    "envoy/extensions/filters/network/direct_response/v3/",
    "envoy/extensions/filters/network/ext_authz/v3/",
    "envoy/extensions/filters/network/http_connection_manager/v3/",
    "envoy/extensions/filters/network/local_ratelimit/v3/",
    "envoy/extensions/filters/network/rbac/v3/",
    "envoy/extensions/filters/network/set_filter_state/v3/",
    "envoy/extensions/filters/network/sni_cluster/v3/",
    "envoy/extensions/filters/network/tcp_proxy/v3/",
    "envoy/extensions/filters/udp/dns_filter/v3/",
    "envoy/extensions/filters/udp/udp_proxy/v3/",
    "envoy/extensions/http/header_formatters/preserve_case/v3/",
    "envoy/extensions/http/original_ip_detection/",
    "envoy/extensions/http/stateful_session/",
    "envoy/extensions/internal_redirect/",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3/",
    "envoy/extensions/load_balancing_policies/common/v3/",
    "envoy/extensions/load_balancing_policies/least_request/v3/",
    "envoy/extensions/load_balancing_policies/maglev/v3/",
    "envoy/extensions/load_balancing_policies/override_host/v3/",
    "envoy/extensions/load_balancing_policies/pick_first/v3/",
    "envoy/extensions/load_balancing_policies/random/v3/",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/",
    "envoy/extensions/load_balancing_policies/round_robin/v3/",
    "envoy/extensions/load_balancing_policies/subset/v3/",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/",
    "envoy/extensions/matching/common_inputs/network/v3/",
    "envoy/extensions/matching/common_inputs/ssl/v3/",
    "envoy/extensions/matching/input_matchers/ip/v3/",
    "envoy/extensions/network/dns_resolver/",
    "envoy/extensions/path/match/uri_template/v3/",
    "envoy/extensions/path/rewrite/uri_template/v3/",
    "envoy/extensions/rbac/matchers/upstream_ip_port/v3/",
    "envoy/extensions/request_id/uuid/v3/",
    "envoy/extensions/retry/",
    "envoy/extensions/transport_sockets/http_11_proxy/v3/",
    "envoy/extensions/transport_sockets/internal_upstream/v3/",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/",
    "envoy/extensions/transport_sockets/quic/v3/",
    "envoy/extensions/transport_sockets/raw_buffer/v3/",
    "envoy/extensions/transport_sockets/tls/v3/",
    "envoy/extensions/upstreams/http/v3/",
    "envoy/extensions/upstreams/tcp/v3/",
    "envoy/service/cluster/v3/",
    "envoy/service/discovery/v3/",
    "envoy/service/endpoint/v3/",
    "envoy/service/extension/v3/",
    "envoy/service/listener/v3/",
    "envoy/service/load_stats/v3/",
    "envoy/service/route/v3/",
    "envoy/service/runtime/v3/",
    "envoy/service/secret/v3/",
    "envoy/service/status/v3/",
    "envoy/type/",
    "xds/core/v3/",
    "xds/type/",
];

/// Packages that carry options of descriptors only; nobody handles them as values.
const ANNOTATIONS: &[&str] =
    &["envoy.annotations", "google.api", "udpa.annotations", "validate", "xds.annotations.v3"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let source = find_descriptors();
    println!("cargo::rerun-if-changed={}", source.display());

    let all = without_comments(read_descriptors(&source));
    fs::write(out.join("descriptors.bin"), all.encode_to_vec()).expect("OUT_DIR is writable");
    generate(prune(all, &source));
}

/// Where cargo put the package `envoy-types`: without the network if possible,
/// since a build may be offline, else letting cargo fetch what the lock file names.
fn find_descriptors() -> PathBuf {
    let offline = MetadataCommand::new().other_options(["--offline".to_owned()]).exec();
    let metadata = offline.or_else(|_| MetadataCommand::new().exec()).unwrap_or_else(|error| {
        panic!("asking cargo metadata for the package envoy-types: {error}")
    });
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "envoy-types")
        .expect("envoy-types is a build-dependency of this package");
    let root = package.manifest_path.parent().expect("a manifest lies in a directory");
    root.join(DESCRIPTORS).into()
}

fn read_descriptors(path: &Path) -> FileDescriptorSet {
    let bytes = fs::read(path).unwrap_or_else(|error| {
        panic!(
            "reading Envoy's descriptors from {}: {error}. The package envoy-types promises no such file; \
             pin a version that has it, or compile Envoy's API into a FileDescriptorSet",
            path.display()
        )
    });
    FileDescriptorSet::decode(bytes.as_slice())
        .unwrap_or_else(|error| panic!("{} is not a FileDescriptorSet: {error}", path.display()))
}

/// Comments would make half of the generated text and become documentation of foreign items.
fn without_comments(mut set: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

/// Keeps the files under [`ROOTS`] and all that they import, in their order.
fn prune(set: FileDescriptorSet, source: &Path) -> FileDescriptorSet {
    for root in ROOTS {
        assert!(
            set.file.iter().any(|file| file.name().starts_with(root)),
            "{} is not Envoy's API as known here: it has no file under {root}",
            source.display()
        );
    }
    let by_name: BTreeMap<&str, &FileDescriptorProto> =
        set.file.iter().map(|file| (file.name(), file)).collect();
    let mut kept = BTreeSet::new();
    let mut open: Vec<&str> = by_name
        .keys()
        .copied()
        .filter(|name| ROOTS.iter().any(|root| name.starts_with(root)))
        .collect();
    while let Some(name) = open.pop() {
        if kept.insert(name) {
            let file = by_name.get(name).unwrap_or_else(|| {
                panic!("{} imports {name} and does not contain it", source.display())
            });
            open.extend(file.dependency.iter().map(String::as_str));
        }
    }
    let file = set
        .file
        .iter()
        .filter(|file| kept.contains(file.name()) && !ANNOTATIONS.contains(&file.package()))
        .cloned()
        .collect();
    FileDescriptorSet { file }
}

fn generate(set: FileDescriptorSet) {
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        // A HashMap would encode the same message differently from run to run.
        .btree_map(".")
        // The body of an Any is shared, never copied: see src/google/protobuf.rs.
        .extern_path(".google.protobuf.Any", "crate::google::protobuf::Any")
        .include_file("envoy_api.rs")
        .compile_fds_with_config(set, config)
        .unwrap_or_else(|error| panic!("generating Rust from Envoy's descriptors: {error}"));
}
