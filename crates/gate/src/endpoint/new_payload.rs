//! One `engine_newPayload*` call.
//!
//! Every payload goes to the execution client at once, while its bytes still come (design.md gate rule 8); the gate's
//! work on it runs beside. Under `observe` the answer goes back as soon as it is here; else it waits for the gate's
//! work, never for a proof (rule 9). The call goes on when the beacon node hangs up: it does not send a payload twice.

use super::{
    Shared, answers,
    body::{Answer, HeldPart, Intake, IntakeError, relay},
    examine::{Examined, Unexamined, Unreadable, examine},
    service::intake_failed,
    stats::count,
    upstream::{Head, NoAnswer, ReadAnswer, read},
    verdict::{Judged, judge},
};
use crate::machine::{AskedPayload, ElAnswer, ImportPolicy, RequestCheck};
use assay_engine_api::{Id, status_edit::Shape};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// How long a call goes on after the beacon node hung up.
pub(super) const ABANDONED_PATIENCE: Duration = Duration::from_secs(30);

/// What came of a call.
pub(super) enum Outcome {
    /// The execution client's answer, and what is to be told.
    Answered(ReadAnswer, Judged),
    /// It gave none.
    NoAnswer(Id, String),
    /// The request itself was refused.
    Refused(Id, IntakeError),
}

/// A call whose body is still coming.
pub(super) async fn streamed(
    shared: Arc<Shared>,
    head: Head,
    intake: Intake,
    place: OwnedSemaphorePermit,
) -> Answer {
    let (reply, told) = oneshot::channel();
    let task = Arc::clone(&shared);
    shared.spawn(async move {
        run_streamed(task, head, intake, reply).await;
        drop(place);
    });
    match told.await {
        Ok(outcome) => to_answer(&shared, outcome),
        // The task ends without an answer only when the endpoint is ending.
        Err(_) => answers::error(Id::null(), answers::no_answer("Assay is stopping")),
    }
}

/// A call out of a batch.
pub(super) async fn held(
    shared: Arc<Shared>,
    head: Head,
    id: Id,
    body: HeldPart,
    reply: oneshot::Sender<Outcome>,
) {
    count(&shared.stats.new_payload_calls);
    let head = head.uncompressed();
    let work = shared.spawn(work_on_part(Arc::clone(&shared), body.clone()));
    let (mut reply, sent) = while_wanted(reply, async {
        let response = shared.upstream.send_held(&head, &body.bytes).await?;
        read(response).await
    })
    .await;
    match sent {
        Some(Ok(answer)) => conclude(&shared, id, answer, work, &mut reply).await,
        Some(Err(no_answer)) => fail(&shared, id, no_answer, work, &mut reply).await,
        None => {}
    }
}

async fn run_streamed(shared: Arc<Shared>, head: Head, mut intake: Intake, reply: oneshot::Sender<Outcome>) {
    count(&shared.stats.new_payload_calls);
    let head = head.uncompressed();
    let (sender, relayed) = relay(intake.declared);
    let (body_is_here, body) = oneshot::channel::<(Id, Result<Bytes, IntakeError>)>();
    let for_work = Arc::clone(&shared);
    let work = shared.spawn(async move {
        let taken = intake.pass_on(Some(sender), true).await;
        let id = intake.id();
        // Given up on: nobody is there to hear of it.
        let _ = body_is_here.send((
            id,
            taken
                .as_ref()
                .map(|held| held.bytes.clone())
                .map_err(Clone::clone),
        ));
        match taken {
            // Counted against the budget until the work is done.
            Ok(held) => work_on(for_work, held.bytes.clone()).await,
            Err(error) => {
                let why = Unreadable::Params(error.to_string());
                Err(Unexamined {
                    why,
                    asked: AskedPayload::Unread,
                })
            }
        }
    });
    let (mut reply, sent) = while_wanted(reply, async {
        let first = shared.upstream.send(&head, relayed).await;
        let (id, taken) = match first {
            Ok(response) => {
                let answer = read(response).await;
                // An answer before the end of the request leaves the rest of it unread.
                let id = body.await.map_or_else(|_| Id::null(), |(id, _)| id);
                return Ok((id, answer));
            }
            Err(no_answer) => match body.await {
                Ok((id, Err(refused))) => return Err((id, refused)),
                Ok((id, Ok(taken))) if no_answer.may_be_tried_again() => (id, taken),
                Ok((id, Ok(_))) => return Ok((id, Err(no_answer))),
                Err(_) => return Ok((Id::null(), Err(no_answer))),
            },
        };
        let again = match shared.upstream.send_again(&head, &taken).await {
            Ok(response) => read(response).await,
            Err(no_answer) => Err(no_answer),
        };
        Ok((id, again))
    })
    .await;
    match sent {
        Some(Ok((id, Ok(answer)))) => conclude(&shared, id, answer, work, &mut reply).await,
        Some(Ok((id, Err(no_answer)))) => fail(&shared, id, no_answer, work, &mut reply).await,
        Some(Err((id, refused))) => tell(&mut reply, Outcome::Refused(id, refused)),
        None => {}
    }
}

pub(super) type Work = tokio::task::JoinHandle<Option<Result<Examined, Unexamined>>>;
type Reply = Option<oneshot::Sender<Outcome>>;

/// Runs a call until it ends or, the beacon node being gone, for `ABANDONED_PATIENCE` more.
pub(super) async fn while_wanted<R, T>(
    mut reply: oneshot::Sender<R>,
    call: impl Future<Output = T>,
) -> (Option<oneshot::Sender<R>>, Option<T>) {
    let outcome = tokio::select! {
        outcome = call => Some(outcome),
        () = async {
            reply.closed().await;
            tokio::time::sleep(ABANDONED_PATIENCE).await;
        } => None,
    };
    (Some(reply), outcome)
}

fn tell(reply: &mut Reply, outcome: Outcome) {
    if let Some(reply) = reply.take() {
        // The beacon node may have hung up.
        let _ = reply.send(outcome);
    }
}

/// As `work_on`; counted against the budget until it is done.
pub(super) async fn work_on_part(shared: Arc<Shared>, body: HeldPart) -> Result<Examined, Unexamined> {
    work_on(shared, body.bytes.clone()).await
}

/// Parses, hashes, and tells the machine and the chain view.
async fn work_on(shared: Arc<Shared>, body: Bytes) -> Result<Examined, Unexamined> {
    let examined = examine(body, shared.network.clone()).await;
    match &examined {
        Ok(examined) => {
            if examined.check == RequestCheck::Mismatch {
                count(&shared.stats.mismatched_payloads);
            }
            examined.tell(shared.observer.as_ref());
            shared.gate.new_payload(examined.asked()).await;
        }
        Err(Unexamined { why, asked }) => {
            shared.gate.new_payload(*asked).await;
            count(&shared.stats.unreadable_payloads);
            tracing::warn!(%why, "payload cannot be read; it passes to the execution client unjudged");
        }
    }
    examined
}

async fn conclude(shared: &Arc<Shared>, id: Id, answer: ReadAnswer, work: Work, reply: &mut Reply) {
    let read = judge(Shape::NewPayload, &answer);
    if shared.gate.config().policy == ImportPolicy::Observe {
        // The answer is the execution client's, whatever the machine will note.
        let said = read.said;
        tell(reply, Outcome::Answered(answer, Judged::pass()));
        note(shared, said, work).await;
    } else {
        let decision = note(shared, read.said, work).await;
        tell(reply, Outcome::Answered(answer, read.edit(decision, &id)));
    }
}

async fn fail(shared: &Arc<Shared>, id: Id, no_answer: NoAnswer, work: Work, reply: &mut Reply) {
    shared.upstream.note_no_answer(&no_answer.why);
    tell(reply, Outcome::NoAnswer(id, no_answer.why));
    note(shared, ElAnswer::Unavailable, work).await;
}

/// Tells the machine what the execution client said, once the machine knows of the payload.
async fn note(shared: &Arc<Shared>, said: ElAnswer, work: Work) -> crate::machine::Decision {
    let asked = match work.await.ok().flatten() {
        Some(Ok(examined)) => examined.asked(),
        Some(Err(unexamined)) => unexamined.asked,
        None => AskedPayload::Unread,
    };
    shared.gate.new_payload_answered(asked, said).await
}

/// What goes back to the beacon node.
pub(super) fn to_answer(shared: &Shared, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered(answer, judged) => judged.apply(shared, answer),
        Outcome::NoAnswer(id, why) => answers::error(id, answers::no_answer(&why)),
        Outcome::Refused(id, why) => intake_failed(shared, id, &why),
    }
}
