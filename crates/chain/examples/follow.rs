//! Follows a beacon node and prints what the view says: `cargo run -p assay-chain --example follow -- http://127.0.0.1:5052`.
//! A second argument ends it after so many seconds; a third names a validator to be looked up for every head.
#![allow(clippy::print_stdout, reason = "an example that prints")]

use assay_chain::{Chain, ChainEvent, ChainView, Follower, SystemClock, ValidatorAnswer, connect};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://127.0.0.1:5052".to_owned());
    let seconds = args.next().map(|text| text.parse()).transpose()?;
    let validator = args.next().map(|text| text.parse()).transpose()?;

    let overrides = Default::default();
    let found = connect(&url, &overrides).await?;
    println!("anchor {:?}", found.anchor);
    let view = Arc::new(ChainView::new(
        found.spec,
        found.genesis,
        Arc::new(SystemClock),
        found.api.clone(),
    ));
    let mut events = view.subscribe();
    let cancel = CancellationToken::new();
    let follower = tokio::spawn(Follower::new(found.api, view.clone(), overrides).run(cancel.clone()));
    let end = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(u64::from(u32::MAX))));
    tokio::pin!(end);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut end => break,
        };
        match event {
            Ok(event) => print(&view, event, validator).await,
            Err(RecvError::Lagged(missed)) => println!("missed {missed} events"),
            Err(RecvError::Closed) => break,
        }
    }
    println!("counters {:?}", view.counters());
    println!(
        "missing {:?} synced {} blocks {}",
        view.missing(),
        view.is_synced(),
        view.with_tree(|tree| tree.block_count())
    );
    cancel.cancel();
    follower.await?;
    Ok(())
}

async fn print(view: &ChainView, event: ChainEvent, validator: Option<u64>) {
    let now = view.current_slot();
    match event {
        ChainEvent::Payload(payload) => println!(
            "{now} payload slot {} {} request {} hash {}",
            payload.slot,
            payload.fork,
            payload.new_payload_request_root.short(),
            payload.block_hash.short()
        ),
        ChainEvent::Block(block) => println!(
            "{now} block   slot {} {} payload {:?}",
            block.slot,
            block.block_root.short(),
            block.new_payload_request_root.map(|root| root.short())
        ),
        ChainEvent::Head(head) => {
            let canonical = head.new_payload_request_root.map(|root| view.is_canonical(&root));
            println!(
                "{now} head    slot {} {} canonical payload {canonical:?}",
                head.slot,
                head.block_root.short()
            );
            let payload = view
                .canonical_block_at(head.slot.saturating_sub(1))
                .and_then(|block| block.new_payload_request_root);
            if let (Some(index), Some(payload)) = (validator, payload.and_then(|root| view.payload(&root))) {
                match view.validator(index, &payload).await {
                    ValidatorAnswer::Known { record, decisive } => {
                        println!(
                            "{now} validator {index} for slot {}: {record:?} decisive {decisive}",
                            payload.slot
                        );
                    }
                    ValidatorAnswer::Absent { decisive } => {
                        println!("{now} validator {index}: absent, decisive {decisive}")
                    }
                    ValidatorAnswer::Unavailable(why) => println!("{now} validator {index}: {why}"),
                }
            }
        }
        other => println!("{now} {other:?}"),
    }
}
