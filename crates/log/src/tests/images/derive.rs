//! Makes images out of recorded moments: what a crash may leave, and what a lying disk may.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::recording::{Files, Moment, Stored};
use super::workload::Random;

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Zeros that are kept behind the journal's end in most images; the engine allocates 64 MiB of them.
const ZEROS: u64 = 5000;

/// What may become of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// A crash alone leaves this: it must open.
    Recover,
    /// The disk changed what it had stored: it must open with everything, or be refused by place.
    RecoverOrRefuse,
    /// The disk changed a list of the engine: as above, and nothing may be removed.
    RefuseUntouched,
}

/// One directory to be opened.
pub(super) struct Image {
    /// How it was made.
    pub(super) what: String,
    pub(super) files: Files,
    /// Every event up to here was acknowledged.
    pub(super) confirmed: u64,
    /// No event behind this was ever written.
    pub(super) attempted: u64,
    pub(super) demand: Demand,
}

impl Image {
    /// Writes it to an empty directory.
    pub(super) fn write(&self, folder: &Path) {
        for part in ["tables", "blobs"] {
            for keyspace in 0..4 {
                fs::create_dir_all(folder.join(format!("engine/keyspaces/{keyspace}/{part}"))).unwrap();
            }
        }
        for (name, stored) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = File::create(path).unwrap();
            file.write_all(&stored.content).unwrap();
            file.set_len(stored.len).unwrap();
        }
    }
}

/// All images of a run, of so many.
pub(super) fn images(moments: &[Moment], count: usize, seed: u64) -> Vec<Image> {
    let mut random = Random(seed);
    let mut images = Vec::with_capacity(count);
    images.extend(every_cut(moments));
    images.extend(every_flip(moments));
    images.truncate(count / 2);
    while images.len() < count {
        let made = match random.below(10) {
            0..3 => torn_tail(moments, &mut random),
            3..5 => half_done(moments, &mut random),
            5 => stale_high_water(moments, &mut random),
            _ => Some(damaged(moments, &mut random)),
        };
        images.extend(made);
    }
    for image in &mut images {
        trim(&mut image.files, &mut random);
    }
    images
}

/// Shortens the zeros behind a journal, which cost time and say nothing; one in 500 keeps them.
fn trim(files: &mut Files, random: &mut Random) {
    for (name, stored) in files.iter_mut() {
        if name.ends_with(".jnl") && random.below(500) > 0 {
            stored.len = stored.len.min(stored.content.len() as u64 + ZEROS);
        }
    }
}

fn journal(files: &Files) -> &str {
    files.keys().rfind(|name| name.ends_with(".jnl")).expect("an engine has a journal")
}

fn is_list(name: &str) -> bool {
    name.ends_with("/current")
        || name.rsplit('/').next().is_some_and(|file| file.starts_with('v')) && name.contains("keyspaces")
}

/// Two moments with one append in between, and no change but in the journal and the high-water file.
fn appends(moments: &[Moment]) -> impl Iterator<Item = (&Moment, &Moment, usize)> {
    moments.windows(2).filter_map(|pair| {
        let [before, after] = pair else { return None };
        let name = journal(&after.files);
        let same = before.files.keys().eq(after.files.keys());
        let from = before.files.get(name).map(|stored| stored.content.len()).filter(|_| same)?;
        let is_longer = after.files[name].content.len() > from;
        (after.confirmed > before.confirmed && is_longer).then_some((before, after, from))
    })
}

/// The state in which an append was being written: the journal of after, everything else of before.
fn in_flight(before: &Moment, after: &Moment, journal_content: Vec<u8>, what: String) -> Image {
    let mut files = before.files.clone();
    let name = journal(&after.files).to_owned();
    let len = before.files[&name].len.max(journal_content.len() as u64);
    files.insert(name, Stored { content: journal_content.into(), len });
    Image { what, files, confirmed: before.confirmed, attempted: after.confirmed, demand: Demand::Recover }
}

/// The smallest append of several events and the smallest of one, cut behind every byte.
fn every_cut(moments: &[Moment]) -> Vec<Image> {
    let size = |(_, after, from): &(&Moment, &Moment, usize)| after.files[journal(&after.files)].content.len() - from;
    let several = |(before, after, _): &(&Moment, &Moment, usize)| after.confirmed > before.confirmed + 1;
    let mut images = Vec::new();
    for (before, after, from) in
        [appends(moments).min_by_key(size), appends(moments).filter(several).min_by_key(size)].into_iter().flatten()
    {
        let whole = &after.files[journal(&after.files)].content;
        for end in from..=whole.len() {
            let what = format!("append behind {} cut at byte {end} of {from}..{}", before.confirmed, whole.len());
            images.push(in_flight(before, after, whole[..end].to_vec(), what));
        }
    }
    images
}

/// An append whose sectors or pages reached the disk in part: each is new, old, zero or garbage.
fn torn_tail(moments: &[Moment], random: &mut Random) -> Option<Image> {
    let all: Vec<_> = appends(moments).collect();
    let (before, after, from) = *random.of(&all);
    let mut content = after.files[journal(&after.files)].content.as_ref().clone();
    let unit = *random.of(&[SECTOR, PAGE]);
    let mut what = format!("append behind {} torn in units of {unit} at", before.confirmed);
    let first = from - from % unit;
    for start in (first..content.len()).step_by(unit) {
        let (start, end) = (start.max(from), (start + unit).min(content.len()));
        match random.below(4) {
            0 => content[start..end].fill(0),
            1 => content[start..end].iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap()),
            _ => continue,
        }
        what.push_str(&format!(" {start}"));
    }
    if random.below(3) == 0 {
        content.truncate(from + random.index(content.len() - from));
        what.push_str(" and cut");
    }
    Some(in_flight(before, after, content, what))
}

/// A change of the engine's files, half of which reached the disk: new files without the list that names them, whole or
/// torn; or the new list with the old files still there.
fn half_done(moments: &[Moment], random: &mut Random) -> Option<Image> {
    let changes: Vec<_> = moments
        .windows(2)
        .filter(|pair| !pair[0].files.keys().eq(pair[1].files.keys()) && pair[0].confirmed <= pair[1].confirmed)
        .collect();
    let pair = random.of(&changes);
    let (before, after) = (&pair[0], &pair[1]);
    let is_forward = random.below(2) == 0;
    let (mut files, other) = if is_forward { (after.files.clone(), before) } else { (before.files.clone(), after) };
    let mut what =
        format!("files behind {}, {}:", before.confirmed, if is_forward { "not removed" } else { "not listed" });
    for (name, stored) in &other.files {
        if files.contains_key(name) || name == "TORN" || name.ends_with(".jnl") || random.below(3) == 0 {
            continue;
        }
        let mut stored = stored.clone();
        if !is_forward && random.below(2) == 0 {
            stored = torn_file(&stored, random);
        }
        what.push_str(&format!(" {name}"));
        files.insert(name.clone(), stored);
    }
    let confirmed = if is_forward { after.confirmed } else { before.confirmed };
    Some(Image { what, files, confirmed, attempted: confirmed, demand: Demand::Recover })
}

fn torn_file(stored: &Stored, random: &mut Random) -> Stored {
    let mut content = stored.content.as_ref().clone();
    if random.below(2) == 0 {
        content.truncate(random.index(content.len() + 1));
        return Stored::new(content);
    }
    let from = random.index(content.len() + 1);
    content[from..].fill(0);
    Stored { content: content.into(), len: stored.len }
}

/// The high-water file of an earlier moment, or one whose younger slot was torn: it is not synced with each commit.
fn stale_high_water(moments: &[Moment], random: &mut Random) -> Option<Image> {
    let at = random.index(moments.len());
    let now = &moments[at];
    let mut files = now.files.clone();
    let older = &moments[random.index(at + 1)];
    let stored = older.files.get("HIGH-WATER")?;
    let what = format!("high water of {} at {}", older.confirmed, now.confirmed);
    files.insert("HIGH-WATER".to_owned(), stored.clone());
    Some(Image { what, files, confirmed: now.confirmed, attempted: now.confirmed, demand: Demand::Recover })
}

/// Every bit position of every byte of the small files, and the fields at both ends of the journal.
fn every_flip(moments: &[Moment]) -> Vec<Image> {
    let last = moments.last().expect("the workload leaves moments");
    let mut images = Vec::new();
    for (name, stored) in &last.files {
        let len = stored.content.len();
        let is_small = ["FORMAT", "HIGH-WATER", "LOCK"].contains(&name.as_str())
            || ["/current", "/version", "/lock"].iter().any(|end| name.ends_with(end));
        let places: Vec<usize> = match () {
            () if name == "HIGH-WATER" => (0..16).chain(4096..4112).filter(|at| *at < len).collect(),
            () if is_small => (0..len).collect(),
            () if is_list(name) => (0..len).step_by(3).collect(),
            () if name.ends_with(".jnl") => (0..len.min(140)).step_by(2).chain(len.saturating_sub(40)..len).collect(),
            () => (0..len.min(40)).step_by(4).chain((len.saturating_sub(120)..len).step_by(3)).collect(),
        };
        for at in places {
            images.push(flipped(last, name, at, u8::try_from(at % 8).unwrap()));
        }
    }
    images
}

fn flipped(moment: &Moment, name: &str, at: usize, bit: u8) -> Image {
    let mut content = moment.files[name].content.as_ref().clone();
    content[at] ^= 1 << bit;
    changed(
        moment,
        name,
        Stored { content: content.into(), len: moment.files[name].len },
        format!("bit {bit} of byte {at} of {name}"),
    )
}

fn changed(moment: &Moment, name: &str, stored: Stored, what: String) -> Image {
    let mut files = moment.files.clone();
    files.insert(name.to_owned(), stored);
    let demand = if is_list(name) { Demand::RefuseUntouched } else { Demand::RecoverOrRefuse };
    let what = format!("{what}, behind {}", moment.confirmed);
    Image { what, files, confirmed: moment.confirmed, attempted: moment.confirmed, demand }
}

/// Some file of some moment with a flipped bit, a lost page, a lost end, older content, or not there at all.
fn damaged(moments: &[Moment], random: &mut Random) -> Image {
    let now = random.index(moments.len());
    let moment = &moments[now];
    let names: Vec<&String> = moment.files.keys().filter(|name| !moment.files[*name].content.is_empty()).collect();
    // Half of them in the journal, which holds most.
    let name = if random.below(2) == 0 { journal(&moment.files) } else { random.of(&names).as_str() };
    let Stored { content, len } = moment.files[name].clone();
    let mut content = content.as_ref().clone();
    if content.is_empty() {
        return flipped(moment, "FORMAT", random.index(10), 0);
    }
    let at = random.index(content.len());
    match random.below(8) {
        0..3 => flipped(moment, name, at, u8::try_from(random.below(8)).unwrap()),
        3 | 4 => {
            let unit = *random.of(&[SECTOR, PAGE]);
            let start = at - at % unit;
            let end = (start + unit).min(content.len());
            content[start..end].fill(0);
            changed(moment, name, Stored { content: content.into(), len }, format!("{unit} zeros at {start} of {name}"))
        }
        5 => {
            let end = (at + 1 + random.index(PAGE)).min(content.len());
            content[at..end].iter_mut().for_each(|byte| *byte = u8::try_from(random.below(256)).unwrap());
            changed(moment, name, Stored { content: content.into(), len }, format!("garbage at {at}..{end} of {name}"))
        }
        6 => {
            content.truncate(at);
            changed(moment, name, Stored::new(content), format!("{name} ends at {at}"))
        }
        _ => {
            let older = moments[random.index(now + 1)]
                .files
                .get(name)
                .filter(|_| random.below(2) == 0 && name != "HIGH-WATER")
                .cloned();
            match older {
                Some(older) => changed(moment, name, older, format!("older {name}")),
                None => {
                    let mut image = changed(moment, name, Stored::new(Vec::new()), format!("no {name}"));
                    image.files.remove(name);
                    image
                }
            }
        }
    }
}
