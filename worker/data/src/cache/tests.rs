use std::io::Write;

use tempfile::TempDir;

use super::*;

fn cache(limit: u64) -> (TempDir, Cache) {
    let folder = TempDir::new().unwrap();
    let cache = Cache::new(folder.path().join("cache"), limit);
    (folder, cache)
}

fn name(letter: char) -> String {
    letter.to_string().repeat(NAME)
}

fn put(cache: &Cache, letter: char, bytes: &[u8], age: u64) -> Cached {
    let mut unfinished = cache.begin(bytes.len() as u64).unwrap();
    unfinished.file.write_all(bytes).unwrap();
    unfinished.file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    cache.finish(unfinished, &name(letter)).unwrap()
}

#[test]
fn a_finished_file_is_found_under_its_name_and_length() {
    let (_folder, cache) = cache(100);
    assert!(cache.find(&name('a'), Some(5)).is_none());
    put(&cache, 'a', b"whole", 0);
    assert_eq!(fs::read(cache.find(&name('a'), Some(5)).unwrap().path()).unwrap(), b"whole");
    assert!(cache.find(&name('a'), Some(4)).is_none(), "a file of another length is another file");
    assert!(cache.find(&name('a'), None).is_some() && cache.find(&name('b'), None).is_none());
}

#[test]
fn an_unfinished_file_is_never_found_and_goes_away() {
    let (_folder, cache) = cache(100);
    let mut unfinished = cache.begin(5).unwrap();
    unfinished.file.write_all(b"who").unwrap();
    assert!(cache.find(&name('a'), Some(3)).is_none());
    drop(unfinished);
    assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 0);
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let (_folder, cache) = cache(100);
    put(&cache, 'a', b"x", 0);
    let (old, new) = (cache.folder.join(".part-old"), cache.folder.join(".part-new"));
    fs::write(&old, b"old").unwrap();
    fs::write(&new, b"new").unwrap();
    let hours = SystemTime::now() - Duration::from_secs(7200);
    File::options().write(true).open(&old).unwrap().set_modified(hours).unwrap();
    drop(cache.begin(1).unwrap());
    assert!(!old.exists() && new.exists());
}

#[test]
fn the_least_recently_used_files_make_room() {
    let (_folder, cache) = cache(10);
    drop(put(&cache, 'a', b"aaaa", 30));
    drop(put(&cache, 'b', b"bbbb", 20));
    // Its use makes it the most recently used.
    drop(cache.find(&name('a'), Some(4)).unwrap());
    drop(put(&cache, 'c', b"cccc", 10));
    let kept = |letter| cache.find(&name(letter), Some(4)).is_some();
    assert_eq!([kept('a'), kept('b'), kept('c')], [true, false, true]);
}

#[test]
fn files_in_use_stay() {
    let (_folder, cache) = cache(10);
    let first = put(&cache, 'a', b"aaaa", 30);
    let second = cache.find(&name('a'), Some(4)).unwrap();
    drop(put(&cache, 'b', b"bbbb", 20));
    let error = cache.begin(7).err().unwrap().to_string();
    assert_eq!(error, "7 bytes have no room in the cache: 4 of 10 are in use");
    drop(first);
    assert!(cache.begin(7).is_err());
    drop(second);
    assert!(cache.begin(7).is_ok());
}

#[test]
fn other_files_of_the_folder_are_left_alone() {
    let (_folder, cache) = cache(10);
    put(&cache, 'a', b"aaaa", 30);
    let other = cache.folder.join("notes.txt");
    fs::write(&other, vec![0; 100]).unwrap();
    drop(cache.begin(8).unwrap());
    assert!(other.exists());
}

#[test]
fn a_link_is_not_taken_for_a_file_of_the_cache_whose_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, cache) = cache(100);
    put(&cache, 'a', b"whole", 0);
    assert_eq!(fs::metadata(&cache.folder).unwrap().permissions().mode() & 0o777, 0o700);
    let foreign = folder.path().join("foreign");
    fs::write(&foreign, b"other").unwrap();
    std::os::unix::fs::symlink(&foreign, cache.folder.join(name('b'))).unwrap();
    assert!(cache.find(&name('b'), Some(5)).is_none());
    put(&cache, 'b', b"fetch", 0);
    assert_eq!(fs::read(&foreign).unwrap(), b"other", "the link was replaced and not followed");
}
