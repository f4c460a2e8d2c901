use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;
use crate::{Credentials, Login, Options, Registry};
use progress::Silent;

/// Starts a registry on this machine and returns its name. `answer` gets the first line of each
/// request and the value of its `Authorization` header.
fn served(
    answer: impl Fn(&str, &str, &mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            // A client that wants TLS sends no text.
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            let rest = lines.map_while(Result::ok);
            let rest: Vec<String> = rest.take_while(|line| !line.is_empty()).collect();
            // A blob with a content coding would have another digest.
            if !rest
                .iter()
                .any(|line| line.eq_ignore_ascii_case("accept-encoding: identity"))
            {
                continue;
            }
            let who = rest.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then_some(value)
            });
            // The client may close the connection early.
            let _ = answer(&first, who.unwrap_or_default(), &mut stream);
        }
    });
    host
}

fn say(stream: &mut TcpStream, head: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    loop {
        stream.write_all(&[b' '; 1 << 16])?;
    }
}

fn registry(host: &str, login: Option<Login>) -> Registry {
    let options = Options {
        credentials: Credentials {
            given: login,
            files: Vec::new(),
        },
        ..Options::default()
    };
    let reference = crate::reference(&format!("{host}/a/b:c")).unwrap();
    Registry::new(&reference, &options).unwrap()
}

#[test]
fn documents_without_end_are_refused() {
    let host = served(|_, _, stream| endless(stream));
    let error = registry(&host, None).manifest().unwrap_err().to_string();
    assert!(error.contains("more than 16777216 bytes"), "{error}");
    let address = host.clone();
    let of_token = served(move |_, _, stream| {
        let head = "401 No\r\nWWW-Authenticate: Bearer realm=\"http://";
        say(stream, &format!("{head}{address}/token\""), "")
    });
    let error = registry(&of_token, None).manifest().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn a_registry_learns_who_asks_and_gives_what_it_has() {
    let host = served(|first, who, stream| {
        let own = stream.local_addr()?;
        let wants = format!(
            "401 No\r\nWWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"a,b\""
        );
        match (first.split(' ').nth(1).unwrap_or_default(), who) {
            ("/token?scope=repository%3Aa%2Fb%3Apull&service=a%2Cb", "Basic dTpw") => {
                say(stream, "200 OK", "{\"token\": \"t\"}")
            }
            ("/v2/a/b/manifests/c", "Bearer t") => say(stream, "200 OK", "{}"),
            (path, "Bearer t") if path.starts_with("/v2/a/b/blobs/sha256:") => {
                say(stream, "200 OK", "blob")
            }
            (_, "") => say(stream, &wants, ""),
            _ => say(stream, "404 No", ""),
        }
    });
    let login = Login {
        user: "u".to_owned(),
        password: "p".to_owned(),
    };
    let registry = registry(&host, Some(login));
    assert_eq!(registry.manifest().unwrap(), b"{}");
    registry.check_login().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let blob = |file: &mut std::fs::File, of: &[u8]| {
        registry.blob(&Digest::of(of), Some(4), file, &Silent)
    };
    blob(&mut file, b"blob").unwrap();
    let error = text::one_line(&blob(&mut file, b"another").unwrap_err());
    assert!(error.contains("the content is another"), "{error}");
}

/// A registry that answers the first `times` requests with `status`.
fn busy(status: &'static str, times: usize) -> String {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    served(move |_, _, stream| {
        let before = answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match before < times {
            true => say(stream, status, ""),
            false => say(stream, "200 OK", "{}"),
        }
    })
}

/// The registry of a host, and the notes that the client reports meanwhile.
fn told(host: &str) -> (Registry, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let options = Options {
        patience: crate::Patience::telling(move |note| {
            notes.lock().unwrap().push(note.to_owned());
        }),
        ..Options::default()
    };
    let reference = crate::reference(&format!("{host}/a/b:c")).unwrap();
    (Registry::new(&reference, &options).unwrap(), told)
}

#[test]
fn one_that_is_busy_is_asked_again_when_it_says() {
    for status in [
        "429 Too many\r\nRetry-After: 1",
        "503 Busy\r\nRetry-After: 0",
        "503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT",
        "503 Busy",
    ] {
        let begun = std::time::Instant::now();
        let (registry, told) = told(&busy(status, 1));
        assert_eq!(registry.manifest().unwrap(), b"{}", "{status}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{status}");
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].ends_with("asking again in 1 s"), "{told:?}");
    }
}

#[test]
fn silence_is_told() {
    let host = served(|_, _, stream| {
        std::thread::sleep(Duration::from_secs(4));
        say(stream, "200 OK", "{}")
    });
    let (registry, told) = told(&host);
    assert_eq!(registry.manifest().unwrap(), b"{}");
    assert_eq!(
        *told.lock().unwrap(),
        [format!("{host} does not answer yet")]
    );
}

#[test]
fn one_that_stays_busy_is_named_with_its_status() {
    let begun = std::time::Instant::now();
    let host = busy("429 Too many\r\nRetry-After: 21600", usize::MAX);
    let error = registry(&host, None).manifest().unwrap_err();
    assert!(error.is_unreachable());
    let error = error.to_string();
    assert!(
        error.contains("status 429") && error.contains("21600 s"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The host is this machine, for which both HTTP and TLS are tried.
    let host = busy("503 Busy", usize::MAX);
    let error = registry(&host, None).manifest().unwrap_err().to_string();
    assert!(error.ends_with("answers with status 503"), "{error}");
}
