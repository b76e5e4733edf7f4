use mainstem_model::{Locality, NetworkId};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use mainstem_proto::istio::{self as message, ServicePort};

fn around() -> Surroundings {
    Surroundings {
        registry: RegistryId::new(crate::PROVIDER, "upstream"),
        cluster: "upstream".into(),
        network: NetworkId::default(),
        locality: Locality::default(),
        trust_domain: "cluster.local".into(),
    }
}

/// What stands in fields of text, good and bad.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "web\\.shop|\\*\\.shop|10\\.0\\.0\\.[0-9]{1,3}|10\\.0\\.0\\.0/[0-9]{1,2}|HTTP|http|[*.~]|",
        ".{0,12}",
    ]
}

/// What stands in fields of numbers.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(80), Just(70_000), any::<u32>()]
}

fn map() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn any_workload_entry() -> impl Strategy<Value = message::WorkloadEntry> {
    let ports = btree_map(text(), number(), 0..3);
    (text(), ports, map(), text(), text(), number(), text()).prop_map(
        |(address, ports, labels, network, locality, weight, service_account)| {
            message::WorkloadEntry {
                address,
                ports,
                labels,
                network,
                locality,
                weight,
                service_account,
            }
        },
    )
}

prop_compose! {
    fn any_service_entry()(
        hosts in vec(text(), 0..3),
        addresses in vec(text(), 0..2),
        ports in vec((number(), text(), text(), number()), 0..3),
        location in -1..3i32,
        resolution in -1..6i32,
        endpoints in vec(any_workload_entry(), 0..3),
        export_to in vec(text(), 0..2),
        subject_alt_names in vec(text(), 0..2),
        selector in prop::option::of(map()),
    ) -> message::ServiceEntry {
        let port = |(number, protocol, name, target_port)| {
            ServicePort { number, protocol, name, target_port }
        };
        message::ServiceEntry {
            hosts,
            addresses,
            ports: ports.into_iter().map(port).collect(),
            location,
            resolution,
            endpoints,
            export_to,
            subject_alt_names,
            workload_selector: selector.map(|labels| message::WorkloadSelector { labels }),
        }
    }
}

/// A resource whose body is the message, perhaps under another name.
fn resource(name: &str, type_name: &str, body: &impl Message) -> Any {
    let body = Any {
        type_url: format!("type.googleapis.com/istio.networking.v1alpha3.{type_name}"),
        value: body.encode_to_vec().into(),
    };
    let metadata = Metadata { name: name.to_owned(), ..Metadata::default() };
    let resource = Resource { metadata: Some(metadata), body: Some(body) };
    Any { value: resource.encode_to_vec().into(), ..Any::default() }
}

/// Either values, or a reason that is not empty.
fn check(kind: Kind, name: &str, resource: &Any) -> Result<(), TestCaseError> {
    if let Err(reason) = object(&around(), &Excluded::default(), &kind, name, Some(resource)) {
        prop_assert!(!reason.is_empty());
    }
    Ok(())
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(&Kind::READ[..])
}

proptest! {
    #[test]
    fn any_message_converts_or_names_what_is_wrong(
        service in any_service_entry(),
        workload in any_workload_entry(),
        name in "shop/web|web|/|.{0,8}",
        kind in any_kind(),
    ) {
        check(kind.clone(), &name, &resource(&name, "ServiceEntry", &service))?;
        check(kind, &name, &resource(&name, "WorkloadEntry", &workload))?;
    }

    #[test]
    fn damaged_bytes_convert_or_name_what_is_wrong(
        service in any_service_entry(),
        cut in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        kind in any_kind(),
    ) {
        let whole = resource("shop/web", "ServiceEntry", &service);
        let mut bytes = whole.value[..=cut.index(whole.value.len())].to_vec();
        bytes.pop();
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        check(kind, "shop/web", &Any { value: bytes.into(), ..Any::default() })?;
    }
}

#[test]
fn a_good_entry_converts() {
    let entry = message::ServiceEntry {
        hosts: vec!["web.shop".to_owned()],
        ports: vec![ServicePort {
            number: 80,
            protocol: "HTTP".to_owned(),
            name: "http".to_owned(),
            target_port: 0,
        }],
        resolution: 1,
        endpoints: vec![message::WorkloadEntry {
            address: "10.0.0.1".to_owned(),
            ..message::WorkloadEntry::default()
        }],
        ..message::ServiceEntry::default()
    };
    let resource = resource("shop/web", "ServiceEntry", &entry);
    let converted =
        object(&around(), &Excluded::default(), &Kind::ServiceEntry, "shop/web", Some(&resource));
    let Ok(Object::Services(declared)) = converted else { panic!("{converted:?}") };
    assert_eq!(declared.len(), 1);
    assert_eq!(declared[0].service.hostname().as_str(), "web.shop");
    assert_eq!(declared[0].endpoints[0].address.to_string(), "10.0.0.1");
}
