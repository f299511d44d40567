//! Every container by its name: `assay ssz` reads them from files, blocks and requests are made of them.

use crate::{Seen, asks_everything, choose, spec};
use assay_types::{
    ContainerContext, ForkName, NewPayloadRequestForm, Preset, Revision, containers::names, inspect,
    spec::ProofDataForm,
};

/// Two bytes choose container and context, the rest is SSZ.
pub(crate) fn containers(data: &[u8]) -> Seen {
    let Some((&[container, context], ssz)) = data.split_first_chunk() else {
        return Seen::Refused;
    };
    let all: Vec<_> = names().collect();
    let name = choose(&all, container);
    let context = read_context(context);
    let root = inspect::root(name, &context, ssz);
    if !asks_everything(data) {
        return Seen::of(&root);
    }
    let json = inspect::decode(name, &context, ssz);
    assert_eq!(root.is_ok(), json.is_ok());
    if let Ok(json) = &json {
        // One byte string for a value, one value for a byte string.
        assert_eq!(
            inspect::encode(name, &context, json).as_deref(),
            Ok(ssz),
            "{name}"
        );
        let text = serde_json::to_string(json).unwrap();
        assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), json);
    }
    Seen::of(&root)
}

/// Three bits for the fork, one each for preset, revision and form of proof data, two for the form of requests.
fn read_context(byte: u8) -> ContainerContext {
    let fork = choose(ForkName::ALL, byte & 7);
    let preset = choose(Preset::ALL, byte >> 3 & 1);
    let mut context =
        ContainerContext::with_revision(fork, spec(preset), choose(Revision::ALL, byte >> 4 & 1));
    context.proof_data_form = choose(
        &[ProofDataForm::Progressive, ProofDataForm::ByteList],
        byte >> 5 & 1,
    );
    context.form = choose(NewPayloadRequestForm::ALL, byte >> 6);
    context
}
