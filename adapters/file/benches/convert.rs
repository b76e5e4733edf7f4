//! Endpoints converted a second: from files on disk to services and endpoints, in
//! Mainstem's own schema and as ServiceEntries.

#![allow(missing_docs, reason = "criterion's macros write undocumented items")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mainstem_file::{FileConfig, check_registry};

const SERVICES: u64 = 100;
const ENDPOINTS: u64 = 10;

/// One document with all services.
fn own() -> String {
    let mut text = "services:\n".to_owned();
    for s in 0..SERVICES {
        let _ = write!(
            text,
            "  - hostname: web-{s}.shop.svc.cluster.local\n    ports:\n      \
             - {{ number: 80, name: http, targetPort: 8080 }}\n    endpoints:\n",
        );
        for e in 0..ENDPOINTS {
            let address = address(s, e);
            let _ = writeln!(
                text,
                "      - {{ address: {address}, locality: eu/eu-1, labels: {{ version: v1 }} }}",
            );
        }
    }
    text
}

/// One document for each service.
fn service_entries() -> String {
    let mut text = String::new();
    for s in 0..SERVICES {
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  \
             name: web-{s}\n  namespace: shop\nspec:\n  hosts: [web-{s}.shop.svc.cluster.local]\n  \
             resolution: STATIC\n  ports:\n    - {{ number: 80, name: http, targetPort: 8080 }}\n  \
             endpoints:\n",
        );
        for e in 0..ENDPOINTS {
            let address = address(s, e);
            let _ = writeln!(
                text,
                "    - {{ address: {address}, locality: eu/eu-1, labels: {{ version: v1 }} }}",
            );
        }
    }
    text
}

fn address(s: u64, e: u64) -> String {
    format!("10.{}.{}.{}", s / 250 + 1, s % 250, e + 1)
}

fn convert(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory for the files");
    let mut group = criterion.benchmark_group("file");
    group.throughput(Throughput::Elements(SERVICES * ENDPOINTS));
    for (schema, text) in [("own", own()), ("service-entry", service_entries())] {
        let path = directory.path().join(format!("{schema}.yaml"));
        std::fs::write(&path, text).expect("a file in a directory of our own");
        let config = FileConfig::new("vm", &path);
        let report = check_registry(&config).expect("a file that was just written");
        assert_eq!((report.rejected, report.endpoints), (Vec::new(), 1_000), "{schema}");
        group.bench_function(BenchmarkId::new("convert", schema), |bencher| {
            bencher.iter(|| check_registry(black_box(&config)));
        });
    }
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
