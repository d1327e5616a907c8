use super::*;
use crate::backend::pin::Pin;
use prompts::Answer as Said;

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn view(text: &str) -> View {
    View { text: text.to_owned(), offer: None, can_mute: true }
}

fn program(name: &str) -> Source {
    Source::Program(name.to_owned())
}

fn shown(board: &Board) -> Option<String> {
    board.0.borrow().showing().question.map(|question| question.text)
}

#[tokio::test]
async fn the_first_answer_counts() {
    let board = Board::default();
    let mut posting = board.ask(&view("first"), None);
    let number = board.list()[0].number;
    assert!(board.answer(number, Said::Allow));
    assert!(!board.answer(number, Said::Deny) && !board.answer(number + 1, Said::Allow));
    assert!(matches!(posting.answer(LONG).await, Ok(Answer::Reply(Reply::Allow(Allowed::Once)))));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_a_no() {
    let board = Board::default();
    let pin = |text: &str| -> Said { Said::Pin(text.as_bytes().to_vec().into()) };
    for said in [Said::AllowLonger, Said::Mute, Said::Deny, pin("1234")] {
        let mut posting = board.ask(&View { can_mute: false, ..view("no offer") }, None);
        assert!(board.answer(posting.number, said));
        assert!(matches!(posting.answer(LONG).await, Ok(Answer::Reply(Reply::Deny))));
    }
    for said in [Said::Allow, Said::AllowLonger, Said::Mute, Said::Deny, pin(""), pin(&"1".repeat(MAX_PIN + 1))] {
        let mut posting = board.ask_pin("the PIN");
        assert!(board.answer(posting.number, said));
        assert!(matches!(posting.answer(LONG).await, Ok(Answer::Secret(None))));
    }
    let mut posting = board.ask_pin("the PIN");
    assert!(board.answer(posting.number, pin("1234")));
    let right: Pin = b"1234".to_vec().into();
    let given = posting.answer(LONG).await;
    assert!(matches!(given, Ok(Answer::Secret(Some(given))) if crate::backend::pin::is_same(&given, &right)));
}

#[tokio::test]
async fn a_silenced_source_is_not_shown_again_not_even_for_a_moment() {
    let board = Board::default();
    let [flood, other] = ["flood", "other"].map(program);
    let first = board.ask(&view("first"), Some(&flood));
    let mut second = board.ask(&view("second"), Some(&flood));
    let third = board.ask(&view("third"), Some(&other));
    assert_eq!(shown(&board).as_deref(), Some("first"));
    assert!(board.answer(first.number, Said::Mute));
    assert_eq!(shown(&board), None, "until it is known what follows");
    let refusal = Refusal::Muted(LONG);
    board.silence(|source| (*source == flood).then(|| refusal.clone()));
    drop(first);
    assert!(shown(&board).is_none());
    assert_eq!(second.answer(LONG).await.err(), Some(refusal));
    drop(second);
    assert_eq!(shown(&board).as_deref(), Some("third"));
    drop(third);
    assert!(board.list().is_empty());
}

#[tokio::test]
async fn the_time_of_a_question_begins_when_it_can_be_seen() {
    let board = Board::default();
    let first = board.ask(&view("first"), None);
    let mut second = board.ask(&view("second"), None);
    let waits = async |posting: &mut Posting| tokio::time::timeout(3 * SOON, posting.answer(SOON)).await.is_err();
    assert!(waits(&mut second).await, "nobody looks");
    let viewer = board.viewer();
    assert!(waits(&mut second).await, "another one is first");
    drop(first);
    assert_eq!(second.answer(SOON).await.err(), Some(Refusal::TimedOut(SOON)));
    let left = board.deserted();
    tokio::pin!(left);
    assert!(tokio::time::timeout(SOON, &mut left).await.is_err());
    drop(viewer);
    left.await;
}

#[tokio::test]
async fn viewers_are_told_of_each_change_and_of_nothing_else() {
    let board = Board::default();
    let empty = board.showing(0).await;
    assert_eq!((empty.question, empty.more), (None, 0));
    let silent = async |seen| tokio::time::timeout(SOON, board.showing(seen)).await.is_err();
    assert!(silent(empty.version).await);
    let first = board.ask(&view("first"), None);
    let _second = board.ask(&view("second"), None);
    let two = board.showing(empty.version).await;
    assert_eq!((two.question.map(|question| question.text).as_deref(), two.more), (Some("first"), 1));
    assert!(silent(two.version).await);
    drop(first);
    let notice = board.notice("touch it");
    let one = board.showing(two.version).await;
    assert_eq!((one.question.map(|question| question.text).as_deref(), one.more), (Some("second"), 0));
    assert_eq!(one.notices, ["touch it"]);
    drop(notice);
    assert!(board.showing(one.version).await.notices.is_empty());
}
