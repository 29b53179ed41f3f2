// Every maximum, named, with the answer when it is reached; docs/adversity-limits.md lists what the
// other side sees, which metric counts it and which test proves it.
#pragma once

#include "base/time.hpp"

#include <cstddef>
#include <cstdint>

namespace waggle::limits {

using namespace std::chrono_literals;

inline constexpr std::uint64_t KiB = 1024;
inline constexpr std::uint64_t MiB = 1024 * KiB;
inline constexpr std::uint64_t GiB = 1024 * MiB;

// Datagrams. Larger ones are dropped on receipt (gossip_dropped_total malformed) and never sent.
// The receive queue is the kernel's, 4 MiB: what does not fit is lost, and gossip lives with loss.
inline constexpr std::size_t datagram_bytes_max = 1400;  ///< IP and UDP headers included
inline constexpr std::size_t ip_udp_header_bytes = 48;   ///< IPv6 + UDP

// Membership. Beyond these new members are refused, tombstones drop oldest first. Dropped payloads
// count as gossip_dropped_total other, first PINGs beyond their rate as over_rate: the stranger
// sees silence.
inline constexpr std::size_t members_max = 8192;
inline constexpr std::size_t member_addresses_max = 4;
inline constexpr std::size_t node_name_bytes_max = 64;
inline constexpr std::size_t zone_bytes_max = 32;
inline constexpr std::size_t member_extra_elements_max =
    8;  ///< of a newer version's MEMBER, skipped; more are malformed
inline constexpr std::uint64_t incarnation_jump_max = 1ULL << 40U;  ///< larger jumps are refused
inline constexpr std::size_t tombstones_min =
    64;  ///< faulty and left kept: max(this, 2 x live), oldest goes
inline constexpr Duration tombstone_age_max = 24h;
inline constexpr std::size_t awaited_pings_max =
    4096;  ///< PINGs whose ACK may start a session: oldest goes
inline constexpr std::size_t relayed_probes_max =
    1024;  ///< probes run for others: further ones get a NACK
inline constexpr std::size_t join_hints_max = 256;  ///< further hints are ignored
inline constexpr std::size_t hints_at_once = 3;     ///< hints pinged in one go, chosen at random
inline constexpr std::size_t leave_told_max =
    128;  ///< members told directly of this node's departure; the others hear it from them
inline constexpr std::size_t group_answers_max =
    8;  ///< members that answer one PING to the multicast group: further ACKs are ignored
inline constexpr std::size_t boot_questions_per_second =
    64;  ///< PINGs to members whose multicasts cannot be read yet; anti-entropy repairs the rest
inline constexpr std::size_t udp_paths_max =
    16'384;  ///< own addresses that others wrote to, kept for the answers: when full, all are
             ///< forgotten
inline constexpr std::size_t repair_records_per_second =
    512;  ///< and at once, about 80 KB: the rest comes with the next exchange, or from others
inline constexpr Duration refutation_interval =
    30s;  ///< between refutations of foreign records of oneself, after a burst of so many
inline constexpr double refutations_burst = 4;
inline constexpr Duration double_grace =
    10s;  ///< so long after a restart packets of the run before it may still be on their way
inline constexpr Duration double_silence =
    30s;  ///< of the run listened to, after which one that it replaced may take its place again
inline constexpr Duration double_asked_every = 5s;  ///< whether somebody else uses the own identity
inline constexpr Duration clone_checked_every = 30s;  ///< whether it still does
inline constexpr Duration clone_told_every = 60s;
inline constexpr Duration clone_remembered = 10min;  ///< after the last proof
inline constexpr std::size_t clones_told_max = 16;   ///< identities: oldest sighting goes
inline constexpr std::size_t unknown_keys_told_max =
    8;  ///< keys of others that status names; further ones are left out
inline constexpr std::size_t sessions_with_all_below =
    256;  ///< members: in larger clusters a probe alone starts no session at the probed
inline constexpr std::size_t parked_payloads_per_member =
    16;  ///< waiting for a session: further ones drop
inline constexpr std::size_t parked_members_max = 1024;  ///< likewise
inline constexpr Duration parked_for = 1s;
inline constexpr std::size_t introductions_per_second =
    1024;  ///< ACKs to PINGs without a session, recordings included: further PINGs get no answer

// Content index. Beyond these announcements are refused (counted); own content always stays.
inline constexpr std::size_t ids_per_origin_max = 65'536;
inline constexpr std::size_t distinct_ids_max = 2'000'000;
inline constexpr std::size_t names_per_origin_max = 16'384;  ///< oldest goes first
inline constexpr std::size_t lookup_holders_max =
    256;  ///< named by one lookup; it says how many more there are

// Announcement logs: what a gap can be repaired from without pulling the whole set. Oldest record
// goes first.
inline constexpr std::size_t log_records_per_origin_max = 256;
inline constexpr std::size_t log_bytes_max =
    8 * MiB;  ///< of all origins' logs: the older half of the least recently written log goes
inline constexpr std::size_t log_window_max = 64;  ///< parked out of order; beyond: a gap
inline constexpr std::size_t log_parked_records_max =
    8192;  ///< parked of all origins: further early records are as if they had not come

// Announcement messages. Larger ones are malformed; what does not fit goes in the next one.
inline constexpr std::size_t records_per_slice_max = 128;  ///< consecutive ones of one log
inline constexpr std::size_t slices_per_message_max = 128;
inline constexpr std::size_t log_depth_told_max = 127;  ///< more counts as this much
inline constexpr std::size_t states_per_message_max = 128;
inline constexpr std::size_t pulls_per_message_max = 128;
inline constexpr std::size_t states_without_buckets_max =
    256;  ///< members: in larger clusters hashes of 64 ranges are compared first
inline constexpr std::size_t relay_rows_max = 1024;  ///< a power of two
inline constexpr std::size_t definitions_per_message_max = 64;
inline constexpr std::size_t definitions_per_frame_max = 8192;
inline constexpr std::size_t set_names_per_frame_max = 2048;
inline constexpr std::size_t set_parts_max = 16;
inline constexpr std::size_t media_type_bytes_max = 128;
inline constexpr std::uint64_t hlc_ms_max = (1ULL << 48U) - 1;

// Announcement queues and tables. Messages beyond are dropped (counted): anti-entropy repairs every
// loss.
inline constexpr std::size_t announcement_queue_messages_max = 16'384;
inline constexpr std::size_t announcement_queue_bulk_bytes_max = 64 * MiB;
inline constexpr std::size_t told_file_bytes_max =
    8 * MiB;  ///< of what was told in data_dir: a longer one counts as none
inline constexpr std::size_t told_changes_max =
    1024;  ///< of the own log, not taken by the owner: it has to be polled
inline constexpr std::size_t relay_records_max =
    16'384;  ///< waiting to be passed on: further ones are left to the other relay
inline constexpr std::size_t set_pulls_max = 16;  ///< outstanding at a time, others wait a round
inline constexpr std::size_t set_pulls_served_per_second =
    64;  ///< each walks the index: further ones are told to ask another node
inline constexpr std::size_t snapshot_part_bytes_max =
    384 * KiB;  ///< packed entries of one part of a snapshot: the rest comes with the next
inline constexpr std::size_t snapshot_names_per_part_max =
    128;  ///< each costs the receiver the check of a signature
inline constexpr std::size_t snapshot_parts_served_per_second =
    64;  ///< to all askers: further ones are told to ask another node
inline constexpr std::size_t snapshot_bytes_per_second =
    32 * MiB;  ///< of a snapshot being received: the next part is asked for later
inline constexpr Duration snapshot_silence_max =
    5s;  ///< of the member asked: another one is asked for the same part
inline constexpr Duration snapshot_retry_interval =
    250ms;  ///< from the second member on that gave no part
inline constexpr std::size_t snapshot_tries_max =
    8;  ///< members in a row that gave no part: single sets are pulled instead
inline constexpr Duration snapshot_time_max = 60s;  ///< of a whole import, likewise
inline constexpr Duration snapshot_pause = 60s;     ///< after an import that failed, likewise
inline constexpr std::size_t repair_reply_bytes_per_second =
    1 * MiB;  ///< answers to questions by datagram: further questions get none
inline constexpr std::size_t announcement_replies_max =
    512;  ///< answers waiting for the budget: further ones drop
inline constexpr std::size_t own_set_serves_max = 4;  ///< per second; others ask another node
inline constexpr std::size_t names_max = 262'144;     ///< of all authors; oldest goes first
inline constexpr std::size_t unresolved_ids_max =
    65'536;  ///< asked for; others wait for a HAVE that defines them
inline constexpr std::size_t id_collisions_max =
    1024;  ///< second definitions of one id64; beyond: refused

// Blobs. Larger ones are refused: the client is sent upstream.
inline constexpr std::uint64_t blob_bytes_max = 1024 * GiB;
inline constexpr std::uint64_t chunk_bytes_min = 256 * KiB;
inline constexpr std::uint64_t chunk_bytes_max = 4 * MiB;
inline constexpr std::uint64_t single_chunk_below = 1 * MiB;
inline constexpr std::uint64_t extent_bytes = 16 * MiB;
inline constexpr std::size_t chunks_per_blob_max = 1U << 20U;
inline constexpr std::uint64_t block_bytes = 64 * KiB;        ///< unit of a pull request
inline constexpr std::uint64_t relay_frame_bytes = 16 * KiB;  ///< passed on as it arrives
inline constexpr std::size_t relay_hops_max = 1023;  ///< that one stripe goes to: others pull
inline constexpr std::uint64_t relay_unsent_bytes_max =
    1 * MiB;  ///< relayed bytes that one session has not sent: it gets no further stripe
inline constexpr std::uint64_t relay_unsent_total_max =
    2 * MiB;  ///< of all sessions: what comes from upstream to be relayed waits
inline constexpr Duration relay_stall = std::chrono::milliseconds(500);  ///< nothing of them sent
inline constexpr Duration relay_rest_max = 60s;  ///< doubles from relay_rest
inline constexpr Duration relay_rest = 5s;       ///< then the session gets no stripe so long
inline constexpr std::size_t relay_evidence_max =
    16;  ///< wrong relayed chunks that a swarm remembers: of further ones nobody is convicted
inline constexpr std::size_t relay_early_crecs_max = 64;    ///< of chunks without a byte: dropped
inline constexpr std::uint64_t held_tail_bytes = 64 * KiB;  ///< withheld until the digest is proven
inline constexpr std::uint64_t manifest_bytes_max =
    4 * MiB;  ///< larger manifests are refused (OCI 4 MiB)

// Sessions. Beyond these new ones are refused (handshakes_total); over-long frames and full queues
// close the session (sessions_closed_total): the peer sees the connection end.
inline constexpr std::size_t frame_bytes_max = 65'535;  ///< one Noise record
inline constexpr std::size_t control_frame_bytes_max =
    1 * MiB;  ///< a control message may span records
inline constexpr std::size_t sessions_max = 256;
inline constexpr std::size_t half_open_handshakes_max =
    64;  ///< the oldest without proof of a key is closed; when all have it, the newcomer is
inline constexpr std::size_t half_open_per_address_max = 8;  ///< likewise, among its own
inline constexpr Duration handshake_timeout = 3s;            ///< the whole handshake: closed
inline constexpr std::size_t seen_handshakes_max =
    4096;  ///< first messages remembered against replay: the oldest is forgotten
inline constexpr std::size_t session_control_queue_bytes_max =
    32 * MiB;  ///< control messages lie in memory: beyond, the session is closed
inline constexpr std::size_t control_queues_bytes_max =
    256 * MiB;  ///< of all sessions: beyond, whoever queues more than 1/sessions_max is closed
inline constexpr std::size_t waiting_bulk_frames_max =
    64;  ///< per member without a session, for 3 s: the oldest goes
inline constexpr std::size_t waiting_bulk_bytes_max =
    64 * MiB;  ///< of all members: further frames drop, anti-entropy asks again
inline constexpr std::size_t requests_per_peer_max = 32;  ///< beyond: BUSY
inline constexpr std::size_t upload_blocks_busy =
    256;  ///< unsent blocks of all sessions: from here on the load that members hear is full
inline constexpr std::size_t session_send_queue_bytes_max =
    64 * MiB;                                               ///< beyond: the session is closed
inline constexpr std::size_t payload_bytes_max = 64 * KiB;  ///< data of one payload frame
inline constexpr std::size_t session_read_buffer_bytes = 512 * KiB;  ///< per open session
inline constexpr std::size_t session_write_batch_bytes = 264 * KiB;  ///< sealed ahead of one write
inline constexpr std::uint64_t rekey_bytes = 1 * GiB;  ///< sealed under one key; then REKEY
inline constexpr std::size_t dials_max = 64;           ///< at once; beyond: the dial fails
inline constexpr Duration session_move_window =
    5s;  ///< after a promotion the sessions under the old key move within about this time
inline constexpr Duration session_linger = 2s;  ///< a moved one's socket: closed at the latest then
inline constexpr Duration dial_timeout = 3s;    ///< connecting, all endpoints together
inline constexpr std::size_t origin_bytes_max = 256;  ///< "scheme://host:port"

// Swarms and claims. Beyond these the request is served by a plain upstream fetch or refused.
inline constexpr std::size_t swarms_max = 1024;
inline constexpr std::size_t list_waiters_max = 256;  ///< for one list being loaded: REJECT
inline constexpr std::size_t list_waiters_per_session_max = 2;  ///< likewise
inline constexpr std::size_t swarm_peers_out = 8;               ///< degree d
inline constexpr std::size_t swarm_peers_in_max = 24;
inline constexpr std::size_t registrar_blobs_max = 4096;  ///< least recently used goes first
inline constexpr std::size_t registrar_blobs_per_node_max =
    1024;  ///< made by one node's messages; its own oldest goes first
inline constexpr std::size_t registrar_wanters_max =
    8192;  ///< further wanters are answered, not listed
inline constexpr std::size_t registrar_entries_max =
    65'536;  ///< wanters and claims of all blobs: the least recently used blob goes
inline constexpr std::size_t host_books_max = 256;  ///< of registry hosts: least recently used goes
inline constexpr std::size_t host_entries_max =
    4096;  ///< permits and askers of one host; further askers are answered, not listed
inline constexpr std::size_t host_permits_per_node_max =
    16;  ///< of one host; further claims wait at the claimant
inline constexpr std::size_t host_pauses_max = 8;  ///< of one host: the one that ends first goes
inline constexpr std::size_t claim_bitmap_bits = 1024;  ///< window from the first unfinished extent
inline constexpr std::uint64_t reassembly_bytes_per_peer_max =
    2 * chunk_bytes_max;  ///< per swarm: no further chunk is begun
inline constexpr std::uint64_t download_buffer_bytes_max = 256 * MiB;

// Refuted digests. Beyond: the oldest mark goes.
inline constexpr std::size_t tainted_digests_max = 1024;
inline constexpr Duration tainted_for = 24h;
inline constexpr std::size_t disputed_swarms_max = 16;  ///< whose CRECs are kept: lowest tag goes

// Cache. Beyond these: longer proofs and journals are refused, partials are refused, the oldest
// sidecars without a copy go first.
inline constexpr std::size_t journal_proof_bytes_max = 256;    ///< a serialized CREC
inline constexpr std::uint64_t journal_bytes_max = 256 * MiB;  ///< three times what 1 TiB needs
inline constexpr std::size_t partials_max = 4096;              ///< partial blobs on disk
inline constexpr std::size_t sidecars_max = 65'536;            ///< midstate lists kept
inline constexpr std::uint64_t fadvise_bytes_min =
    1 * GiB;  ///< smaller blobs may stay in the page cache

// HTTP. Beyond these: 431, 414, 503 with Retry-After absent (never 429 to containerd).
inline constexpr std::size_t http_header_bytes_max = 64 * KiB;
inline constexpr std::size_t http_connections_max = 1024;
inline constexpr Duration http_header_timeout = 10s;
inline constexpr Duration http_idle_timeout = 120s;   ///< between requests: closed
inline constexpr Duration http_write_timeout = 300s;  ///< no byte taken: cut
inline constexpr std::size_t http_target_bytes_max =
    32 * KiB;  ///< signed URLs are long; beyond: 414
inline constexpr std::uint64_t http_write_bytes =
    256 * KiB;  ///< a response leaves in pieces of this size
inline constexpr std::uint64_t http_span_bytes =
    4 * MiB;  ///< sent from a file between two questions for more
inline constexpr std::uint64_t forward_body_bytes_max =
    4 * MiB;  ///< tags and referrers; larger answers become 404
inline constexpr std::size_t repository_bytes_max = 255;  ///< longer names are invalid
inline constexpr std::size_t tag_bytes_max = 128;         ///< distribution spec

// Upstream. Beyond these the request fails as a value; idle connections beyond the pool are closed.
inline constexpr std::size_t upstream_redirects_max = 5;
inline constexpr std::size_t fetch_targets_max =
    4;  ///< ways to one blob (clients' URLs); beyond: the oldest is forgotten
inline constexpr std::size_t upstream_header_bytes_max = 64 * KiB;
inline constexpr std::size_t upstream_idle_per_origin_max = 16;
inline constexpr std::size_t upstream_idle_max = 64;
inline constexpr Duration upstream_idle_kept = 60s;
inline constexpr std::size_t upstream_tokens_max = 1024;  ///< earliest expiry goes first
inline constexpr std::uint64_t token_body_bytes_max = 1 * MiB;
inline constexpr std::uint64_t docker_config_bytes_max = 4 * MiB;
inline constexpr Duration upstream_body_gap = 2500ms;  ///< without a byte of a body: it has stalled
inline constexpr std::uint64_t upstream_rate_bytes_min =
    20 * KiB;  ///< what such a gap's worth of waiting brings, or it is dead
inline constexpr std::size_t upstream_resumes_max = 16;      ///< of one body that broke off
inline constexpr std::size_t upstream_vain_resumes_max = 3;  ///< of them in a row without a byte
inline constexpr Duration upstream_pause_max = 60s;          ///< whatever Retry-After says
inline constexpr std::size_t upstream_pauses_max = 256;      ///< the one that ends first goes first
inline constexpr std::size_t upstream_troubles_max = 256;    ///< kinds of log lines remembered

// Log. Lines that others can cause, per kind: beyond these they are counted, and the next line says
// how many were left out.
inline constexpr double log_lines_burst = 10;
inline constexpr Duration log_line_interval = 10s;
inline constexpr std::size_t log_text_bytes_max = 256;  ///< of a foreign text; the rest is cut

}  // namespace waggle::limits
