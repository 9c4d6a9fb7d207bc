use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::test_support::{get, read};

#[tokio::test]
async fn a_program_that_is_not_ready_lives_and_says_why() {
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let router =
        router(move || if asked.load(Ordering::Relaxed) { Ok(()) } else { Err("no coordinator".to_owned()) });
    assert_eq!(read(get(&router, "/livez").await).await, (StatusCode::OK, "live\n".into()));
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, "no coordinator\n".into());
    assert_eq!(read(get(&router, "/readyz").await).await, unavailable);
    ready.store(true, Ordering::Relaxed);
    let response = get(&router, "/readyz").await;
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(read(response).await, (StatusCode::OK, "ready\n".into()));
}
