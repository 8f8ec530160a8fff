//! Where the place is looked for again, and what goes on meanwhile.

use super::*;

/// What the task publishes until `is_enough`, while `meanwhile` is called after each.
fn watched(
    setting: &Setting,
    script: &Shared,
    mut is_enough: impl FnMut(&Grid, &watch::Sender<Setting>) -> bool,
) {
    block(async {
        let (settings, receiver) = watch::channel(setting.clone());
        let (stop, stopped) = watch::channel(false);
        let (shown, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let publish = move |lookout: &Lookout, now| {
            let _ = shown.send(lookout.grid(now));
        };
        let pace = Pace { look_again: Duration::from_millis(1), ..Pace::default() };
        let task = tokio::spawn(super::watch(receiver, opening(script, 900), stopped, pace, publish));
        let enough = async { while !is_enough(&seen.recv().await.expect("published"), &settings) {} };
        timeout(Duration::from_secs(20), enough).await.expect("it comes to that");
        stop.send(true).expect("there");
        task.await.expect("it ends");
    });
}

#[test]
fn a_place_that_nobody_told_is_looked_for_again_while_providers_are_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let labels = folder.path().join("labels");
    let location = location::Wish {
        metadata: false,
        cloud: Some("aws".to_owned()),
        labels_file: Some(labels.clone()),
        ..Default::default()
    };
    let wishes = Wishes { location, ..Wishes::default() };
    let setting = Setting { choice: Choice::Unknown, wishes, ..setting("FR") };
    let script = Shared::default();
    let mut zones = Vec::new();
    watched(&setting, &script, |grid, _| {
        zones.push(grid.place.zone.to_string());
        let location = grid.sources.iter().find(|source| &*source.source == "location").expect("it is said");
        let is_asked = !script.lock().expect("not poisoned").asked.is_empty();
        if is_asked && location.errors.first().is_some_and(|(_, count)| *count >= 3) {
            std::fs::write(&labels, "topology.kubernetes.io/region=\"eu-west-3\"").expect("written");
        }
        &*grid.place.zone == "FR" && location.fault.is_none()
    });
    assert!(zones.iter().filter(|zone| *zone == "WORLD").count() >= 3, "{zones:?}");
}

#[test]
fn who_is_not_told_the_place_has_not_left_it() {
    let script = Shared::default();
    let lost = Found {
        place: Place { zone: "WORLD".into(), source: "none".into(), cloud: "".into(), region: "".into() },
        pue: None,
        ..Found::too_late(SETTLE)
    };
    let mars = Found { place: Place { zone: "WORLD".into(), ..found("FR", "aws").place }, ..lost.clone() };
    for failed in [lost, mars] {
        let mut lookout = Lookout::found(setting_open(), opening(&script, 900), found("FR", "aws"), NOON);
        lookout.take_up(setting_open(), Some(failed.clone()), NOON);
        lookout.move_to(failed.clone(), NOON);
        let grid = lookout.grid(NOON);
        assert_eq!((&*grid.place.zone, &*grid.place.region), ("FR", "eu-west-3"));
        assert_eq!(grid.plan.at(NOON).pue, Pue::parse("1.1").expect("valid"));
        assert_eq!((&*grid.sources[0].source, grid.sources[0].fault), ("location", Some(Fault::Timeout)));
        assert_eq!(grid.sources[0].errors, [(Fault::Timeout, 2)]);
        assert!(lookout.kept().is_some());
        // One that was configured is not gone back to, and what is no place is not kept.
        let mut lookout = lookout_of("DE", &script);
        lookout.take_up(setting_open(), Some(failed), NOON);
        assert_eq!(&*lookout.place().zone, "WORLD");
        assert_eq!(lookout.kept(), None);
    }
}

fn lookout_of(zone: &str, script: &Shared) -> Lookout {
    lookout(script, setting(zone), NOON)
}

#[test]
fn a_figure_of_the_building_that_was_kept_is_dropped_where_it_is_turned_off() {
    let script = Shared::default();
    let mut lookout = Lookout::found(setting_open(), opening(&script, 900), found("FR", "aws"), NOON);
    let kept = lookout.kept();
    let mut plain = setting_open();
    plain.wishes.location.pue = false;
    let restored = Lookout::restored(plain.clone(), opening(&script, 900), kept, NOON).expect("kept");
    assert_eq!(restored.grid(NOON).plan.at(NOON).pue, Pue::ONE);
    lookout.take_up(plain, None, NOON);
    assert_eq!(lookout.grid(NOON).plan.at(NOON).pue, Pue::ONE);
}

#[test]
fn a_source_has_one_name_whoever_else_is_asked() {
    let script = Shared::default();
    let one = opening(&script, 900);
    let two = Arc::clone(&one);
    let twice: Open =
        Arc::new(move |wishes, place| two(wishes, place).into_iter().chain(two(wishes, place)).collect());
    let name = |open: Open| {
        let lookout = Lookout::restored(setting("FR"), open, None, NOON).expect("configured");
        lookout.grid(NOON).sources.iter().map(|source| source.hw_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(name(one), ["made_up/FR"]);
    assert_eq!(name(twice), ["made_up/FR", "made_up/FR#2"]);
}

#[test]
fn a_disk_that_hangs_keeps_nobody_from_asking() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grid.json");
    // Whoever opens it for writing waits until somebody reads.
    let hanging = folder.path().join(format!("grid.json.{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&hanging).status().expect("mkfifo is there");
    assert!(made.success());
    let script = Shared::default();
    script.lock().expect("unused").answer = Some(Box::new(hourly));
    let first = Setting { kept: Some(path), ..setting("FR") };
    let mut count = 0;
    watched(&first, &script, |grid, settings| {
        count += 1;
        if count == 2 {
            let other = Choice::Zone { zone: "DE".into(), basis: None };
            settings.send(Setting { choice: other, ..first.clone() }).expect("there");
        }
        let is_over = &*grid.place.zone == "DE" && script.lock().expect("not poisoned").asked.len() == 2;
        if is_over {
            // The one that waits goes on, and there is only one.
            drop(std::fs::File::open(&hanging).expect("it was being written"));
        }
        is_over
    });
}
