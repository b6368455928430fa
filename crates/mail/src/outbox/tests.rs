use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::*;
use crate::line::Line;

/// Does what it is told per recipient, on a clock that the test moves.
#[derive(Debug, Default)]
struct Moody {
    /// Failures before success.
    busy: HashMap<&'static str, u32>,
    slow: HashMap<&'static str, Duration>,
    tries: Mutex<Vec<(String, Instant)>>,
    sent: Mutex<Vec<String>>,
}

#[async_trait]
impl Mailer for Moody {
    async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let to = mail.to.to_string();
        let tries = {
            let mut tries = self.tries.lock().unwrap();
            tries.push((to.clone(), Instant::now()));
            tries.iter().filter(|(other, _)| *other == to).count() as u32
        };
        if let Some(slow) = self.slow.get(to.as_str()) {
            tokio::time::sleep(*slow).await;
        }
        match self.busy.get(to.as_str()) {
            Some(&u32::MAX) => Err(SendError::refused("no such mailbox")),
            Some(busy) if tries <= *busy => Err(SendError::unavailable("try again later")),
            _ => {
                self.sent.lock().unwrap().push(to);
                Ok(())
            }
        }
    }
}

impl Moody {
    fn pauses(&self) -> Vec<Duration> {
        let tries = self.tries.lock().unwrap();
        tries.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
    }
}

fn mail(to: &str) -> Mail {
    Mail::new(to.parse().unwrap(), Line::new("x"), "x".to_owned(), "<p>x</p>".to_owned())
}

fn never() -> impl Future<Output = ()> {
    std::future::pending()
}

const PATIENT: &str = "patient@example.com";

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_patience_gets_it() {
    let mailer = Arc::new(Moody { busy: [(PATIENT, 4)].into(), ..Moody::default() });
    let (outbox, task) = outbox(mailer.clone(), OutboxOptions::default());
    outbox.post(mail(PATIENT)).unwrap();
    drop(outbox);
    assert_eq!(task.run(never()).await, Undelivered(0));
    assert_eq!(*mailer.sent.lock().unwrap(), [PATIENT]);
    for (pause, plan) in mailer.pauses().iter().zip([5, 20, 80, 320]) {
        let plan = Duration::from_secs(plan);
        assert!(*pause >= plan.mul_f64(0.8) && *pause <= plan.mul_f64(1.21), "{pause:?} for {plan:?}");
    }
    assert_eq!(mailer.pauses().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_tried_again_and_patience_ends() {
    let [refused, never_ready] = ["refused@example.com", "never@example.com"];
    let mailer =
        Arc::new(Moody { busy: [(refused, u32::MAX), (never_ready, 1000)].into(), ..Moody::default() });
    let (outbox, task) = outbox(mailer.clone(), OutboxOptions::default());
    outbox.post(mail(refused)).unwrap();
    outbox.post(mail(never_ready)).unwrap();
    drop(outbox);
    task.run(never()).await;
    let tries = mailer.tries.lock().unwrap();
    assert_eq!(tries.iter().filter(|(to, _)| to == refused).count(), 1);
    assert_eq!(tries.iter().filter(|(to, _)| to == never_ready).count(), 6);
}

#[tokio::test(start_paused = true)]
async fn it_holds_so_many_those_that_wait_included() {
    let options = OutboxOptions { capacity: NonZeroUsize::new(3).unwrap(), ..OutboxOptions::default() };
    let mailer = Arc::new(Moody { busy: [(PATIENT, 1)].into(), ..Moody::default() });
    let (outbox, task) = outbox(mailer.clone(), options);
    let (stop, stopped) = oneshot::channel::<()>();
    let posting = async {
        outbox.post(mail(PATIENT)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It was tried, and waits for its second try.
        assert_eq!(mailer.tries.lock().unwrap().len(), 1);
        outbox.post(mail("a@example.com")).unwrap();
        outbox.post(mail("b@example.com")).unwrap();
        assert_eq!(outbox.post(mail("c@example.com")), Err(OutboxFull));
        tokio::time::sleep(Duration::from_secs(1)).await;
        outbox.post(mail("c@example.com")).unwrap();
        outbox.post(mail("d@example.com")).unwrap();
        assert_eq!(outbox.post(mail("e@example.com")), Err(OutboxFull));
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stop);
    };
    let (left, ()) = tokio::join!(task.run(async { drop(stopped.await) }), posting);
    assert_eq!(left, Undelivered(0));
    assert_eq!(mailer.sent.lock().unwrap().len(), 5);
    assert_eq!(outbox.post(mail("late@example.com")), Err(OutboxFull), "nothing is taken after the end");
}

#[tokio::test(start_paused = true)]
async fn a_slow_recipient_does_not_hold_up_the_others() {
    let slow = "slow@example.com";
    let mailer = Arc::new(Moody { slow: [(slow, Duration::from_secs(50))].into(), ..Moody::default() });
    let (outbox, task) = outbox(mailer.clone(), OutboxOptions::default());
    outbox.post(mail(slow)).unwrap();
    for _ in 0..20 {
        outbox.post(mail("quick@example.com")).unwrap();
    }
    drop(outbox);
    let start = Instant::now();
    assert_eq!(task.run(never()).await, Undelivered(0));
    assert_eq!(start.elapsed().as_secs(), 50);
    assert_eq!(mailer.sent.lock().unwrap().last().unwrap(), slow);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_everything_gets_one_more_try_within_the_grace_period() {
    let [stuck, late] = ["stuck@example.com", "late@example.com"];
    let mailer = Arc::new(Moody {
        busy: [(PATIENT, 1), ("busy@example.com", 9)].into(),
        slow: [(stuck, Duration::from_secs(3600))].into(),
        ..Moody::default()
    });
    let options = OutboxOptions { at_once: NonZeroUsize::new(4).unwrap(), ..OutboxOptions::default() };
    let (outbox, task) = outbox(mailer.clone(), options);
    outbox.post(mail(PATIENT)).unwrap();
    outbox.post(mail("busy@example.com")).unwrap();
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Posted, and not looked at any more before the end.
        outbox.post(mail(late)).unwrap();
    };
    let start = Instant::now();
    assert_eq!(task.run(stop).await, Undelivered(1));
    assert!(start.elapsed() < Duration::from_secs(2));
    let mut sent = mailer.sent.lock().unwrap().clone();
    sent.sort();
    assert_eq!(sent, [late, PATIENT]);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_server_that_hangs() {
    let stuck = "stuck@example.com";
    let mailer = Arc::new(Moody { slow: [(stuck, Duration::from_secs(3600))].into(), ..Moody::default() });
    let (outbox, task) = outbox(mailer, OutboxOptions::default());
    outbox.post(mail(stuck)).unwrap();
    let start = Instant::now();
    assert_eq!(task.run(tokio::time::sleep(Duration::from_secs(1))).await, Undelivered(1));
    assert_eq!(start.elapsed().as_secs(), 6);
}
