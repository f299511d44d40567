//! One `engine_newPayload*` call.
//!
//! Every payload goes to the execution client at once, while its bytes still come (design.md gate rule 8); the gate's
//! work on it runs beside. Under `observe` the answer goes back as soon as it is here; else it waits for the gate's
//! work, and for a proof only where that is asked for (rule 9). The call goes on when the beacon node hangs up: it does not send a payload twice.

use super::{
    Shared, answers,
    body::{Answer, AnyBody, Held, HeldPart, Intake, IntakeError, Kept, relay_kept},
    callers::Caller,
    clients::{heard, tell_others, too_long},
    examine::{Examined, Unexamined, Unreadable, examine},
    service::intake_failed,
    stats::count,
    turns::Unanswered,
    upstream::{Head, MAX_LARGE_ANSWER_BYTES, NoAnswer, ReadAnswer, read, read_counted},
    verdict::{Judged, judge},
    waiting::{Running, for_proofs, without_answer},
};
use crate::machine::{Asked, AskedPayload, Decision, ElAnswer, ImportPolicy, RequestCheck, StatusWord};
use assay_engine_api::{ErrorObject, Id, methods::MethodKind, status_edit::Shape};
use assay_types::BlockHash;
use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a call goes on after the beacon node hung up.
pub(super) const ABANDONED_PATIENCE: Duration = Duration::from_secs(30);

/// The gate's work on a payload begins when its last byte is on the way to the execution client, under `observe` when the answer
/// is, but no later than this after it came from the beacon node: where there are few processors they would share one.
const FORWARDING_FIRST: Duration = Duration::from_millis(5);

/// What came of a call.
pub(super) enum Outcome {
    /// The execution client's answer, and what is to be told.
    Answered(ReadAnswer, Judged),
    /// It gave none.
    NoAnswer(Id, String),
    /// An answer of the gate's own.
    Own(Judged),
    /// An error of the gate's own.
    Error(Id, ErrorObject),
    /// The request itself was refused.
    Refused(Id, IntakeError),
}

/// A call whose body is still coming. It is read here, on the connection's own task: each chunk is on its way to the
/// execution client after a single change of tasks.
pub(super) async fn streamed(
    shared: Arc<Shared>,
    head: Head,
    mut intake: Intake,
    caller: Caller,
    place: OwnedSemaphorePermit,
) -> Answer {
    let (call, running) = new_call(caller, None);
    let head = head.uncompressed();
    let method = intake.method().to_owned();
    let with_witness = has_witness(&method);
    let (sender, relayed, forwarded) = relay_kept(intake.declared);
    let (has_arrived, arriving) = oneshot::channel();
    let Call {
        reply,
        asked,
        received,
        caller,
        ..
    } = call;
    let task = Arc::clone(&shared);
    let sent_head = head.clone();
    let observes = shared.gate.config().policy == ImportPolicy::Observe;
    let answered = CancellationToken::new();
    let told = answered.clone().drop_guard();
    let begin = async move {
        // Its end is told by dropping it.
        let _ = forwarded.await;
        if observes {
            answered.cancelled().await;
        }
    };
    // Another may be active when the body is here: it is one of the others of this call.
    let to = shared.upstream.active();
    shared.spawn(async move {
        let call = (to, with_witness, received, told);
        run_streamed(task, sent_head, call, (relayed, arriving), reply).await;
        drop(place);
    });
    let taken = intake.pass_on_and_keep(sender).await;
    let id = intake.id();
    let arrived = taken.map(|kept| {
        let (joined, body) = oneshot::channel();
        let about = watch::Sender::new(None);
        // Its place among what the others are told is that of its last byte's arrival.
        let gathered = match shared.upstream.are_several() {
            true => {
                let held = Arc::new(kept.join());
                let body = held.all();
                tell_others(&shared, to, Shape::NewPayload, &head, &body, &about.subscribe());
                Gathered::Joined(held)
            }
            false => Gathered::Kept(kept),
        };
        let work = Received {
            method,
            id: id.clone(),
            caller,
            asked,
            joined,
            about,
        };
        let work = shared.spawn(work.examine(Arc::clone(&shared), gathered, begin));
        Arrived { work, body }
    });
    // Given up on: nobody is there to hear of it.
    let _ = has_arrived.send((id, arrived));
    let outcome = running.outcome(&shared).await;
    to_answer(&shared, outcome)
}

/// A request that has come to its end, the gate's work on it under way.
struct Arrived {
    work: Work,
    /// In one piece, once somebody has put it together.
    body: oneshot::Receiver<HeldPart>,
}

type Arriving = oneshot::Receiver<(Id, Result<Arrived, IntakeError>)>;

/// A request's body, in one piece or not.
enum Gathered {
    Kept(Kept),
    Joined(Arc<Held>),
}

/// A call whose body is here; what is to be done with it beside the forwarded call.
struct Received {
    method: String,
    id: Id,
    caller: Caller,
    asked: oneshot::Sender<(Id, Asked)>,
    joined: oneshot::Sender<HeldPart>,
    about: watch::Sender<Option<BlockHash>>,
}

impl Received {
    async fn examine(
        self,
        shared: Arc<Shared>,
        gathered: Gathered,
        begin: impl Future<Output = ()> + Send,
    ) -> Result<Examined, Unexamined> {
        // At the latest.
        let _ = tokio::time::timeout(FORWARDING_FIRST, begin).await;
        let held = match gathered {
            Gathered::Joined(held) => held,
            Gathered::Kept(kept) => tokio::task::spawn_blocking(move || Arc::new(kept.join()))
                .await
                .map_err(|_| unread("its bytes could not be put together".to_owned()))?,
        };
        // Wanted for a second try alone.
        let _ = self.joined.send(held.all());
        // Counted against the budget until the work is done.
        let examined = work_on(shared, self.caller, &self.method, held.bytes.clone()).await;
        tell_asked(self.asked, self.id, &examined);
        self.about.send_replace(hash_of(&examined));
        examined
    }
}

fn unread(why: String) -> Unexamined {
    Unexamined {
        why: Unreadable::Params(why),
        asked: AskedPayload::Unread,
    }
}

/// The inner ends of a call's channels.
pub(super) struct Call {
    reply: oneshot::Sender<Outcome>,
    asked: oneshot::Sender<(Id, Asked)>,
    received: Instant,
    caller: Caller,
    /// Of a batch: until the execution client has answered.
    unanswered: Option<Unanswered>,
}

/// Both ends of a call that begins now.
pub(super) fn new_call(caller: Caller, unanswered: Option<Unanswered>) -> (Call, Running) {
    let (reply, told) = oneshot::channel();
    let (asked, asked_of) = oneshot::channel();
    let received = Instant::now();
    let running = Running {
        told,
        asked: asked_of,
        shape: Shape::NewPayload,
        received,
    };
    let call = Call {
        reply,
        asked,
        received,
        caller,
        unanswered,
    };
    (call, running)
}

/// A call out of a batch.
pub(super) async fn held(
    shared: Arc<Shared>,
    head: Head,
    id: Id,
    (method, body): (String, HeldPart),
    call: Call,
) {
    count(&shared.stats.new_payload_calls);
    let head = head.uncompressed();
    let Call {
        reply,
        asked,
        received,
        caller,
        unanswered,
    } = call;
    let with_witness = has_witness(&method);
    let (of_work, part, for_asked) = (Arc::clone(&shared), body.clone(), id.clone());
    let about = watch::Sender::new(None);
    let active = shared.upstream.active();
    tell_others(
        &shared,
        active,
        Shape::NewPayload,
        &head,
        &body,
        &about.subscribe(),
    );
    let work = shared.spawn(async move {
        let examined = work_on_part(of_work, caller, method, part).await;
        tell_asked(asked, for_asked, &examined);
        about.send_replace(hash_of(&examined));
        examined
    });
    let (mut reply, sent) = while_wanted(&shared, reply, async {
        let read = |response| read_answer(&shared, with_witness, response);
        shared.upstream.ask(&head, &body.bytes, read).await
    })
    .await;
    match sent {
        Some(Ok(answer)) => {
            let call = (id, with_witness);
            conclude(
                &shared,
                call,
                answer,
                work,
                &mut reply,
                (received, unanswered, None),
            )
            .await;
        }
        Some(Err(no_answer)) => fail(&shared, id, no_answer, work, &mut reply).await,
        None => {}
    }
}

/// Says what the call asks about, to whom that may matter.
fn tell_asked(to: oneshot::Sender<(Id, Asked)>, id: Id, examined: &Result<Examined, Unexamined>) {
    if let Ok(examined) = examined {
        // Nobody may be waiting any more.
        let _ = to.send((id, Asked::Payload(examined.asked())));
    }
}

async fn run_streamed(
    shared: Arc<Shared>,
    head: Head,
    (to, with_witness, received, told): (usize, bool, Instant, DropGuard),
    (relayed, arriving): (AnyBody, Arriving),
    reply: oneshot::Sender<Outcome>,
) {
    count(&shared.stats.new_payload_calls);
    let (mut reply, sent) = while_wanted(&shared, reply, async {
        let first = match shared.upstream.send_for_answer(to, &head, relayed).await {
            Ok(response) => read_answer(&shared, with_witness, response)
                .await
                .map_err(|e| (e, false)),
            Err(no_answer) => Err((no_answer, true)),
        };
        // Without either the connection's task ended in the middle of the request.
        let broken = || {
            (
                Id::null(),
                Err(IntakeError::Broken("its connection ended".to_owned())),
            )
        };
        let (id, arrived) = arriving.await.unwrap_or_else(|_| broken());
        let (arrived, (no_answer, unsent)) = match (first, arrived) {
            (Ok(answer), arrived) => {
                // An answer before the end of a request that broke off then: nothing is known of the payload.
                let work = match arrived {
                    Ok(arrived) => arrived.work,
                    Err(why) => shared.spawn(async move { Err(unread(why.to_string())) }),
                };
                return Ok((id, Ok(answer), work));
            }
            (Err(_), Err(refused)) => return Err((id, refused)),
            (Err(why), Ok(arrived)) => (arrived, why),
        };
        let again = shared.upstream.are_several() || (unsent && no_answer.may_be_tried_again());
        let body = match again {
            true => arrived.body.await.ok(),
            false => None,
        };
        let answer = match body {
            Some(body) => {
                let read = |response| read_answer(&shared, with_witness, response);
                shared
                    .upstream
                    .ask_again(&no_answer, &head, &body.bytes, read)
                    .await
            }
            None => Err(no_answer),
        };
        Ok((id, answer, arrived.work))
    })
    .await;
    match sent {
        Some(Ok((id, Ok(answer), work))) => {
            let call = (id, with_witness);
            conclude(
                &shared,
                call,
                answer,
                work,
                &mut reply,
                (received, None, Some(told)),
            )
            .await;
        }
        Some(Ok((id, Err(no_answer), work))) => fail(&shared, id, no_answer, work, &mut reply).await,
        Some(Err((id, refused))) => tell(&mut reply, Outcome::Refused(id, refused)),
        None => {}
    }
}

pub(super) type Work = tokio::task::JoinHandle<Option<Result<Examined, Unexamined>>>;
type Reply = Option<oneshot::Sender<Outcome>>;

/// Runs a call until it ends or, the beacon node being gone, for `ABANDONED_PATIENCE` more.
pub(super) async fn while_wanted<R, T>(
    shared: &Shared,
    mut reply: oneshot::Sender<R>,
    call: impl Future<Output = T>,
) -> (Option<oneshot::Sender<R>>, Option<T>) {
    let outcome = tokio::select! {
        outcome = call => Some(outcome),
        () = too_long(shared) => None,
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
pub(super) async fn work_on_part(
    shared: Arc<Shared>,
    caller: Caller,
    method: String,
    body: HeldPart,
) -> Result<Examined, Unexamined> {
    work_on(shared, caller, &method, body.bytes.clone()).await
}

/// Parses, hashes, and tells the machine and the chain view.
pub(super) async fn work_on(
    shared: Arc<Shared>,
    caller: Caller,
    method: &str,
    body: Bytes,
) -> Result<Examined, Unexamined> {
    let examined = examine(method, body, shared.network.clone()).await;
    match &examined {
        Ok(examined) => {
            if examined.check == RequestCheck::Mismatch {
                count(&shared.stats.mismatched_payloads);
            }
            if let Some(chain_id) = examined.foreign_chain_id {
                shared.note_foreign(examined.facts.block_hash, chain_id);
            }
            examined.tell(shared.observer.as_ref());
            tell_gate(&shared, caller, examined.asked()).await;
        }
        Err(Unexamined { why, asked }) => {
            tell_gate(&shared, caller, *asked).await;
            count(&shared.stats.unreadable_payloads);
            tracing::warn!(%why, "payload cannot be judged; what is said of it is the execution client's word");
        }
    }
    examined
}

/// Only what the primary brings says where it started (rules 2 and 11).
async fn tell_gate(shared: &Shared, caller: Caller, asked: AskedPayload) {
    match caller {
        Caller::Primary => shared.gate.new_payload(asked).await,
        Caller::Other => shared.gate.other_payload(asked).await,
    }
}

fn has_witness(method: &str) -> bool {
    MethodKind::of(method) == MethodKind::NewPayloadWithWitness
}

/// Witnesses are large: such an answer counts against the budget until it goes back.
async fn read_answer(
    shared: &Shared,
    with_witness: bool,
    response: Response<Incoming>,
) -> Result<ReadAnswer, NoAnswer> {
    match with_witness {
        true => read_counted(response, MAX_LARGE_ANSWER_BYTES, &shared.budget).await,
        false => read(response).await,
    }
}

async fn conclude(
    shared: &Arc<Shared>,
    (id, with_witness): (Id, bool),
    answer: ReadAnswer,
    work: Work,
    reply: &mut Reply,
    (received, unanswered, told): (Instant, Option<Unanswered>, Option<DropGuard>),
) {
    let read = judge(Shape::NewPayload, &answer);
    let client = answer.client();
    if shared.gate.config().policy == ImportPolicy::Observe {
        // The answer is the execution client's, whatever the machine will note.
        let said = read.said;
        tell(reply, Outcome::Answered(answer, Judged::Passed));
        drop(told);
        let (asked, _, _) = note(shared, said, work).await;
        if let Some(hash) = hash_asked(&asked) {
            shared.gate.passed(hash, said).await;
            heard(shared, client, hash, said).await;
        }
    } else {
        let (asked, judgement, wrong) = note(shared, read.said, work).await;
        drop(unanswered);
        if let Some(hash) = hash_asked(&asked) {
            heard(shared, client, hash, read.said).await;
        }
        let asked = Asked::Payload(asked);
        let decision = for_proofs(shared, asked, read.said.word(), judgement, received).await;
        let told_valid = decision.is_valid(read.said.word());
        let judged = match read.said {
            // An execution client that let such a call pass; its INVALID and its errors stand.
            ElAnswer::Status { status, .. }
                if status != StatusWord::Invalid
                    && !told_valid
                    && let Some(error) = wrong =>
            {
                return tell(reply, Outcome::Error(id, error));
            }
            // Who asks for a witness has no use for VALID without one.
            _ if with_witness && matches!(decision, Decision::RaiseToValid(_)) => Judged::Passed,
            ElAnswer::Unavailable => {
                without_answer(Shape::NewPayload, decision, &id).unwrap_or(Judged::Passed)
            }
            _ => read.edit(decision, &answer.body, &id),
        };
        tell(reply, Outcome::Answered(answer, judged));
    }
}

/// The payload a call is about, whatever else is known of it.
fn hash_of(examined: &Result<Examined, Unexamined>) -> Option<BlockHash> {
    match examined {
        Ok(examined) => Some(examined.facts.block_hash),
        Err(Unexamined {
            asked: AskedPayload::Named { block_hash, .. },
            ..
        }) => Some(*block_hash),
        Err(_) => None,
    }
}

pub(super) fn hash_asked(asked: &AskedPayload) -> Option<BlockHash> {
    match asked {
        AskedPayload::Read { payload, .. } => Some(payload.block_hash),
        AskedPayload::Named { block_hash, .. } => Some(*block_hash),
        AskedPayload::Unread => None,
    }
}

async fn fail(shared: &Arc<Shared>, id: Id, no_answer: NoAnswer, work: Work, reply: &mut Reply) {
    shared.upstream.note_no_answer(&no_answer);
    if shared.gate.config().policy != ImportPolicy::AcceptProofs {
        tell(reply, Outcome::NoAnswer(id, no_answer.why));
        note(shared, ElAnswer::Unavailable, work).await;
        return;
    }
    let (_, (decision, _), _) = note(shared, ElAnswer::Unavailable, work).await;
    match without_answer(Shape::NewPayload, decision, &id) {
        Some(own) => {
            count(&shared.stats.answered_for_silent_client);
            tell(reply, Outcome::Own(own));
        }
        None => tell(reply, Outcome::NoAnswer(id, no_answer.why)),
    }
}

/// Tells the machine what the execution client said, once the machine knows of the payload. Gives what it was asked about,
/// what it decided, and what is plainly wrong with the call.
async fn note(
    shared: &Arc<Shared>,
    said: ElAnswer,
    work: Work,
) -> (AskedPayload, (Decision, bool), Option<ErrorObject>) {
    let (asked, wrong) = match work.await.ok().flatten() {
        Some(Ok(examined)) => (examined.asked(), None),
        Some(Err(unexamined)) => (unexamined.asked, unexamined.why.as_error()),
        None => (AskedPayload::Unread, None),
    };
    let judgement = shared.gate.new_payload_judged(asked, said).await;
    (asked, judgement, wrong)
}

/// What goes back to the beacon node.
pub(super) fn to_answer(shared: &Shared, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered(answer, judged) => judged.apply(shared, answer),
        Outcome::NoAnswer(id, why) => answers::error(id, answers::no_answer(&why)),
        Outcome::Own(judged) => judged.by_itself(shared),
        Outcome::Error(id, error) => answers::error(id, error),
        Outcome::Refused(id, why) => intake_failed(shared, id, &why),
    }
}
