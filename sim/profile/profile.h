// Which QEMU release the simulator speaks as: a row of named behaviours for each.
//
// A cell is a behaviour that differs between releases, named by what it does; its comment says
// where it was seen.  Code asks for cells, never for version numbers.

#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace sim {

struct Profile {
  std::string_view name;     // as users write it: "7.2"
  int major, minor, micro;   // what query-version says
  std::string_view package;  // the distribution's build that the behaviours were measured on

  // --- the monitor ---

  // A value that an enumeration has not: "Invalid parameter 'x'" (5.2) or "Parameter 'sync' does
  // not accept value 'x'" (from 7.2; difference 17).
  bool bad_value_names_parameter = true;
  // JSON is parsed token by token (11.1): mistakes are told at once, with line and column of the
  // whole stream, in other words (difference 20); or when a value is complete (until 10.0).
  bool json_parsed_at_once = false;
  // Floating numbers are written with 17 significant digits (from 7.2), or with six behind the
  // point, without trailing zeroes (5.2).
  bool json_numbers_keep_17_digits = true;
  // The reply of quit, system_reset and system_powerdown comes before what they bring about (5.2),
  // or after (difference 7).
  bool reply_precedes_shutdown = false;
  // Before quit cancels the jobs while all is drained, everything is drained once already (10.0 and
  // 11.1), which pauses jobs once more (difference 8).
  bool drains_before_end = false;
  // quit completes jobs that are ready, without pivot (5.2), or cancels all by force (difference
  // 6).
  bool quit_completes_ready_jobs = false;

  // query-status has `singlestep` (QAPI: until 8.x; measured on 7.2 and 10.0).
  bool status_has_singlestep = true;

  // --- the command line ---

  int copyright_year = 2022;      // what -version says
  bool has_compat_option = true;  // from 6.0
  // -device and -object take JSON (from 6.0), short forms of boolean options are warned of.
  bool takes_json_options = true;
  bool mon_is_deprecated = false;  // 11.1
  // An unknown machine type is named in the refusal (10.0 and 11.1), with its option (5.2).
  bool refusal_names_machine = false;
  bool refusal_names_machine_option = false;
  // A socket without a place: "Exactly one of 'path', 'fd' or 'host' required" (5.2) or "Unable to
  // parse FD number ".
  bool socket_asks_for_place = false;
  bool pidfile_error_names_file = true;  // not in 5.2

  // --- the node graph ---

  // Two users of a node conflict: "Conflicts with use by …" (5.2) or "Permission conflict on node
  // …" (from 7.2; facts, difference 18).
  bool permission_conflict_names_both = true;
  // The texts of a chain that has no such file: "Base 'x' not found" (5.2), "Can't find 'x' in the
  // backing chain".
  bool missing_base_names_chain = true;
  // A job has been created before it is refused its main node (not in 5.2).
  bool job_comes_before_node = true;
  // Bitmaps are described with a `status` (5.2 only).
  bool bitmaps_have_status = false;
  // A mirror takes note of what is written through its filter (from 10.0), not of all that reaches
  // the source node (difference 14).
  bool mirror_tracks_filter = false;
  // The base of an active layer's commit that failed is as writable as before
  // (from 10.0).
  bool commit_restores_base = false;
  // A read-only node that was streamed into is read-only again (not from 10.0 on).
  bool stream_restores_node = true;
  // A commit writes zeroes of its source as zero clusters (from 10.0) or as data (facts, Bytes).
  bool commit_keeps_zeroes = false;
  // block-stream puts a copy-on-read filter above its node (from 6.0).
  bool stream_has_filter = true;
  // Writing zeroes through a block backend gives the space back only if the node has
  // discard=unmap (from 10.0).
  bool backend_heeds_discard_option = false;
  // A mirror's target is looked at first: zeroes are not written where it has zeroes already, and
  // only what the source has allocated is copied to one that is all zero (11.1; difference 4).
  bool mirror_looks_at_target = false;
  // query-block-jobs tells whether a mirror writes to both sides at once (from 8.2).
  bool mirror_tells_actively_synced = false;
  // The filter of a mirror that has concluded stays until the job is dismissed (5.2; difference
  // 23).
  bool mirror_filter_outlives_job = false;
  // BLOCK_JOB_COMPLETED tells a job's error in its own words, as query-jobs does, or just in (5.2)
  // the system's for its errno (difference 15).
  bool completion_has_own_text = true;
  // `complete` is accepted while a mirror rests (not in 5.2; difference 9).
  bool standby_can_complete = true;
  // Until a concluded stream is dismissed its filter stays, in 7.2 without a child: what looks at
  // it there crashes, query-named-block-nodes too (difference 1; scenarios/qmp/jobs).
  bool concluded_stream_filter_is_hollow = false;
  // query-named-block-nodes crashes while a backup is concluded and not dismissed (5.2; difference
  // 2); blockdev-snapshot of a node onto itself does (5.2; difference 3).
  bool concluded_backup_crashes_query = false;
  bool snapshot_onto_itself_crashes = false;
  // A job that sleeps for its speed, or idles when ready, pauses when it wakes (5.2; difference
  // 10).
  bool pause_waits_for_wake = false;
  // A job that a pause, a drain or another speed wakes early sleeps again until its speed lets it
  // go on (10.0 and 11.1; stream, commit, mirror; measured).
  bool wake_keeps_to_speed = false;
  // Members of query-named-block-nodes: encryption_key_missing (5.2), active (from 10.0), children
  // (11.1).
  bool tells_missing_key = false;
  bool tells_active = false;
  bool tells_children = false;
  // blockdev-del of an unknown node: "Cannot find node x" (5.2) or "Failed to find node with
  // node-name='x'".
  bool del_quotes_node = true;
  // Offset and size of a raw node that do not fit are told as 0 (5.2).
  bool raw_tells_offset = true;
  // A transaction's actions are committed last one first (from 10.0; difference 11).
  bool transaction_commits_backwards = false;
  // Bitmaps of different sizes: both are told (not in 5.2).
  bool merge_names_sizes = true;
  // block-dirty-bitmap-merge of an empty list crashes (from 7.2; scenarios/qmp/bitmaps).
  bool merge_of_nothing_crashes = true;
  // blockdev-snapshot-sync's texts: "node-name" or "node name" (5.2).
  bool overlay_node_name_has_hyphen = true;
  // Whether actions can be grouped is looked at before the first is prepared (from 10.0).
  bool grouping_is_checked_first = false;
  // Backups use the filter copy-before-write, which can be added by itself; 5.2 has backup-top.
  bool has_copy_before_write = true;
  // That filter reads its source consistently even if nobody writes through it (from 10.0;
  // x-debug-query-block-graph).
  bool cbw_always_reads_source = false;
  // A raw node that is opened above a node which is there drains that one, so often (7.2; later
  // releases do it, too, but jobs keep to their speed).
  unsigned raw_drains_its_file = 0;
  // So does a device that is refused its node for want of permissions (7.2; later the same).
  bool refused_device_drains = false;
  // blockdev-reopen drains all that is below its node, before and after, and with it whoever else
  // uses that (5.2 and 7.2).
  bool reopen_drains_below = false;
  // A SCSI disk whose node an iothread serves goes to its adapter's, and is refused if another
  // device uses the node; 5.2 aborts if none does.  From 10.0 it stays where its node is.
  enum class DisksMove : std::uint8_t { aborting, yes, never };
  DisksMove scsi_disks_move = DisksMove::never;
  // A stream that is refused a node after it has been created leaves its user of the top node
  // behind (from 7.2), or aborts (5.2).
  bool refused_stream_crashes = false;
  // The bitmap of what is to be copied is the filter's (from 10.0), not the source's.
  bool cbw_shows_copy_bitmap = false;
  // A backup copies cluster by cluster, one after the other, at the speed of its job (5.2), or up
  // to 64 requests at once, which rest when the job pauses.
  bool backup_copies_by_cluster = false;
  // What is less than a cluster at an image's end is copied by a backup as data (not in 5.2).
  bool short_copy_is_data = true;
  // An image that could not be created is removed (not in 5.2), even if its file was there before.
  bool failed_create_removes_file = true;
  // A block job is a block backend of its main node (5.2).
  bool jobs_are_backends = false;
  // "expects a power of 2" (5.2: "expects power of 2").
  bool power_of_two_has_article = true;
  // A node name that is taken or malformed is quoted (not in 5.2).
  bool bad_node_name_is_quoted = true;
  // "device=X nor node_name=Y" (5.2) or "device='X' nor node-name='Y'" (difference 16).
  bool lookup_quotes_names = true;
  // object-add's arguments are declared (from 6.0); 5.2 takes any.
  bool objects_are_checked_by_schema = true;
  // A throttle group in use says so in its own words (11.1).
  bool throttle_group_tells_references = false;
  // query-iothreads tells poll-weight, and grows and shrinks by 2 (11.1).
  bool iothreads_poll_by_weight = false;
  // device_add reads its properties as the text that a command line would have (until 6.1), or as
  // JSON (10.0).
  bool device_properties_are_typed = false;
  // device_add's integers: "expects integer" (7.2) or "expects uint64".
  bool device_integers_are_signed = false;
  // An id of a device that is taken is refused before all else, in other words (5.2).
  bool device_ids_are_first = false;
  // "Invalid qdev ID ''" (11.1).
  bool bad_device_id_is_quoted = false;

  // --- snapshots of machines, persistent bitmaps ---

  // Persistent bitmaps are not added to or removed from a node without write access, in words of
  // their own (11.1); before, one that was added is lost when the node is closed.
  bool persistent_bitmaps_need_write_access = false;
  // A merge looks at its target first (from 7.2), or at its sources.
  bool merge_looks_at_target_first = true;
  // blockdev-reopen takes several nodes and replaces `file` too (from 7.2); x-blockdev-reopen is of
  // one node, replaces `backing` only, and has other texts (5.2).
  bool reopen_is_stable = true;
  // An integer below 0 that is taken as a size: "Value '-1' is out of range for parameter 'x'", or
  // "Parameter 'x' expects a non-negative number below 2^64" (7.2).
  bool bad_size_says_range = true;
  // savevm, loadvm and `info snapshots` name devices as 5.2 did ("No block device can accept
  // snapshots"); delvm does not ask whether all devices could.
  bool old_machine_snapshot_texts = false;
  bool delvm_checks_devices = true;
  // `info snapshots` says "Error: " before its reason (11.1).
  bool info_snapshots_says_error = false;
  // The table of snapshots: "VM SIZE" and names of 17 columns (5.2) or 16, or "VM_SIZE" and "--"
  // for no icount (from 10.0).
  unsigned snapshot_name_columns = 16;
  bool snapshot_table_has_underscores = false;
  // Nodes that nobody uses and that are older than the last device's root are no part of a
  // snapshot of the machine (10.0.13; the iteration goes on from that root).
  bool machine_snapshot_skips_older_nodes = false;
  // A snapshot of the machine that is loaded through a throttle node crashes (10.0 and 11.1:
  // throttle_drain_end; before, QEMU hangs at the next drained section).
  bool load_through_throttle_crashes = false;
  // What a container in QOM is not when a device is asked for: "/machine is not a hotpluggable
  // device" (5.2 and 7.2), or "device"; whether the empty id is one (not in 5.2).
  std::string_view container_is_no = "device";
  bool empty_id_is_container = true;
  // An image's size beyond what QEMU can address is refused before all else (not in 5.2).
  bool range_is_checked_first = true;
  // block_resize of a node that is busy names the device as it was given, "(null)" if not, and no
  // reason (5.2 and 7.2).
  bool busy_resize_names_device = false;
  // query-blockstats has zone_append (from 10.0).
  bool has_zone_append = true;
  // Devices count requests that failed or were invalid unless told not to (not in 5.2, where only
  // -drive's do).
  bool devices_count_failures = true;
  // A CD drive that never had a medium takes its first one read-only (not in 5.2).
  bool empty_drive_is_read_only = true;
  // A raw or copy-on-read node has the size that its child has (not on 10.0), or that it had when
  // it was opened or last resized; other filters have it, too (11.1).
  bool sizes_follow_children = true;
  bool filters_follow_children = false;
  // Nodes of the driver `file` have format-specific information, with nothing in it (from 10.0).
  bool files_have_format = true;
  // query-cpus-fast tells `arch` (5.2), `qom-type` (11.1).
  bool cpus_have_arch = false;
  bool cpus_have_type = false;
  // Monitors are among QOM's objects (11.1).
  bool monitors_are_objects = false;
  // block-latency-histogram-set takes an empty list of boundaries (5.2 and 7.2).
  bool histogram_may_be_empty = false;
  // What is wrong with a configuration file of blkdebug is in the reply (not in 5.2); that it
  // cannot be opened is told with its name (11.1).
  bool blkdebug_tells_config_fault = true;
  bool blkdebug_names_config = false;
  // Backups first try to let the file system copy (5.2, option use-copy-range): where that fails,
  // clusters of the target have been allocated and given back.
  bool backup_tries_copy_range = false;
};

// Versions and packages as the greetings say (measured on each).
inline constexpr std::array kProfiles = {
    Profile{.name = "5.2",
            .major = 5,
            .minor = 2,
            .micro = 0,
            .package = "Debian 1:5.2+dfsg-11+deb11u5",
            .bad_value_names_parameter = false,
            .json_numbers_keep_17_digits = false,
            .reply_precedes_shutdown = true,
            .quit_completes_ready_jobs = true,
            .copyright_year = 2020,
            .has_compat_option = false,
            .takes_json_options = false,
            .refusal_names_machine_option = true,
            .socket_asks_for_place = true,
            .pidfile_error_names_file = false,
            .permission_conflict_names_both = false,
            .missing_base_names_chain = false,
            .job_comes_before_node = false,
            .bitmaps_have_status = true,
            .stream_has_filter = false,
            .mirror_filter_outlives_job = true,
            .completion_has_own_text = false,
            .standby_can_complete = false,
            .concluded_backup_crashes_query = true,
            .snapshot_onto_itself_crashes = true,
            .pause_waits_for_wake = true,
            .tells_missing_key = true,
            .del_quotes_node = false,
            .raw_tells_offset = false,
            .merge_names_sizes = false,
            .merge_of_nothing_crashes = false,
            .overlay_node_name_has_hyphen = false,
            .has_copy_before_write = false,
            .reopen_drains_below = true,
            .scsi_disks_move = Profile::DisksMove::aborting,
            .refused_stream_crashes = true,
            .backup_copies_by_cluster = true,
            .short_copy_is_data = false,
            .failed_create_removes_file = false,
            .jobs_are_backends = true,
            .power_of_two_has_article = false,
            .bad_node_name_is_quoted = false,
            .lookup_quotes_names = false,
            .objects_are_checked_by_schema = false,
            .device_ids_are_first = true,
            .merge_looks_at_target_first = false,
            .reopen_is_stable = false,
            .old_machine_snapshot_texts = true,
            .delvm_checks_devices = false,
            .snapshot_name_columns = 17,
            .container_is_no = "hotpluggable device",
            .empty_id_is_container = false,
            .range_is_checked_first = false,
            .busy_resize_names_device = true,
            .has_zone_append = false,
            .devices_count_failures = false,
            .empty_drive_is_read_only = false,
            .files_have_format = false,
            .cpus_have_arch = true,
            .histogram_may_be_empty = true,
            .blkdebug_tells_config_fault = false,
            .backup_tries_copy_range = true},
    Profile{.name = "7.2",
            .major = 7,
            .minor = 2,
            .micro = 22,
            .package = "Debian 1:7.2+dfsg-7+deb12u18+b3",
            .concluded_stream_filter_is_hollow = true,
            .raw_drains_its_file = 2,
            .refused_device_drains = true,
            .reopen_drains_below = true,
            .scsi_disks_move = Profile::DisksMove::yes,
            .device_integers_are_signed = true,
            .bad_size_says_range = false,
            .container_is_no = "hotpluggable device",
            .busy_resize_names_device = true,
            .has_zone_append = false,
            .files_have_format = false,
            .histogram_may_be_empty = true},
    Profile{.name = "10.0",
            .major = 10,
            .minor = 0,
            .micro = 13,
            .package = "Debian 1:10.0.13+ds-0+deb13u1",
            .drains_before_end = true,
            .status_has_singlestep = false,
            .copyright_year = 2025,
            .refusal_names_machine = true,
            .mirror_tracks_filter = true,
            .commit_restores_base = true,
            .stream_restores_node = false,
            .commit_keeps_zeroes = true,
            .backend_heeds_discard_option = true,
            .mirror_tells_actively_synced = true,
            .wake_keeps_to_speed = true,
            .tells_active = true,
            .transaction_commits_backwards = true,
            .grouping_is_checked_first = true,
            .cbw_always_reads_source = true,
            .cbw_shows_copy_bitmap = true,
            .device_properties_are_typed = true,
            .snapshot_table_has_underscores = true,
            .machine_snapshot_skips_older_nodes = true,
            .load_through_throttle_crashes = true,
            .sizes_follow_children = false},
    Profile{.name = "11.1",
            .major = 11,
            .minor = 1,
            .micro = 3,
            .package = "Debian 1:11.1.3+ds-1~bpo13+1",
            .json_parsed_at_once = true,
            .drains_before_end = true,
            .status_has_singlestep = false,
            .copyright_year = 2026,
            .mon_is_deprecated = true,
            .refusal_names_machine = true,
            .mirror_tracks_filter = true,
            .commit_restores_base = true,
            .stream_restores_node = false,
            .commit_keeps_zeroes = true,
            .backend_heeds_discard_option = true,
            .mirror_looks_at_target = true,
            .mirror_tells_actively_synced = true,
            .wake_keeps_to_speed = true,
            .tells_active = true,
            .tells_children = true,
            .transaction_commits_backwards = true,
            .grouping_is_checked_first = true,
            .cbw_always_reads_source = true,
            .cbw_shows_copy_bitmap = true,
            .throttle_group_tells_references = true,
            .iothreads_poll_by_weight = true,
            .device_properties_are_typed = true,
            .bad_device_id_is_quoted = true,
            .persistent_bitmaps_need_write_access = true,
            .info_snapshots_says_error = true,
            .snapshot_table_has_underscores = true,
            .load_through_throttle_crashes = true,
            .filters_follow_children = true,
            .cpus_have_type = true,
            .monitors_are_objects = true,
            .blkdebug_names_config = true},
};

constexpr const Profile* find_profile(std::string_view name) {
  for (const Profile& profile : kProfiles)
    if (profile.name == name) return &profile;
  return nullptr;
}

}  // namespace sim
