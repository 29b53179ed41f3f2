// The facade: registrar tables and seekers behind one set of inputs; what goes to the own registrar
// stays inside.
#include "transfer/claims.hpp"

#include "base/assert.hpp"
#include "base/keys.hpp"
#include "base/timer_table.hpp"
#include "transfer/claim_seeker.hpp"
#include "transfer/claim_table.hpp"
#include "transfer/claim_wire.hpp"
#include "transfer/host_permits.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <type_traits>
#include <utility>

namespace waggle::transfer {
namespace {

constexpr std::string_view blob_domain = "blob:";
constexpr std::size_t registrar_count = 3;
constexpr std::size_t brisk_seekers_max = 16;  // with more, WANTs would be most of the traffic
constexpr std::size_t news_sample = 32;        // wanters that one without a claim is told of
constexpr Duration table_ttl = std::chrono::minutes(10);
constexpr Duration own_pause =
    std::chrono::milliseconds(100);  ///< a deadline missed by more: this process was late

/// Blobs that are fetched anew after a refutation have claims of their own: the host's name and a
/// word.
std::string host_of(const SwarmKey& key) { return key.origin.substr(0, key.origin.find(' ')); }

bool used_earlier(const std::pair<const SwarmTag, ClaimTable>& a,
                  const std::pair<const SwarmTag, ClaimTable>& b) {
  return a.second.last_use() < b.second.last_use();
}

}  // namespace

SwarmTag SwarmKey::tag() const {
  Bytes message = digest.to_wire();
  append(message, as_bytes(origin));
  SwarmTag tag;
  blake2b(tag.bytes, message);
  return tag;
}

struct Claims::Impl {
  struct Seeker {
    SwarmKey key;
    ClaimSeeker core;
  };
  struct Local {
    SwarmTag tag;
    ClaimBody body;
  };

  explicit Impl(const ClaimsConfig& configuration)
      : config(configuration),
        prng(configuration.seed),
        permits({configuration.self, configuration.incarnation, configuration.id_key,
                 mix_seed(configuration.seed), configuration.in_flight_per_host}) {}

  void send(const NodeId& to, const SwarmTag& tag, ClaimBody body);
  void transmit(const NodeId& to, const SwarmTag& tag, ClaimBody body);
  void deliver_local(TimePoint now);
  void event_of(TimePoint now, const Seeker& seeker, ClaimsEvent event);
  bool drain_permits(TimePoint now);
  void end_permit(TimePoint now, const PermitId& permit) {
    permits.end(now, permit);
    waiting.erase(permit);
  }
  void registrar_message(TimePoint now, const NodeId& from, const SwarmTag& tag,
                         const ClaimBody& body);
  void answer_denied(const NodeId& to, const SwarmTag& tag, const std::vector<ExtentClaim>& denied);
  void tell_grants(const SwarmTag& tag, const std::vector<ClaimTable::Granted>& granted);
  void send_news(const NodeId& to, const SwarmTag& tag, const WantMessage& want,
                 const ClaimTable& table);
  void serve_waiting(TimePoint now, const SwarmTag& tag, ClaimTable& table);
  void make_room(TimePoint now, const NodeId& from);
  ClaimTable& table_of(TimePoint now, const NodeId& from, const SwarmTag& tag);
  void forget(std::map<SwarmTag, ClaimTable>::iterator table);
  /// After a change of `table`; forgets least recently used other tables until all entries fit.
  void count_entries(ClaimTable& table);
  void collect(TimePoint now);
  void enter(TimePoint now);
  void settle(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  [[nodiscard]] std::vector<NodeId> trio(const Digest& digest) const;

  ClaimsConfig config;
  Prng prng;
  std::vector<NodeId> candidates;
  std::map<SwarmTag, ClaimTable> tables;
  std::int64_t entries = 0;  ///< of all tables
  std::map<SwarmTag, Seeker> seekers;
  HostPermits permits;
  std::map<PermitId, std::uint32_t> waiting;  ///< claims without a permit: their attempts
  std::deque<std::pair<bool, Local>>
      local;  ///< own messages to the own registrar (true) or seeker (false)
  std::deque<ClaimsEvent> events;
  std::optional<TimePoint> deadline;  ///< what the last input promised
  std::uint64_t granted = 0, waited = 0, takeovers = 0, sent = 0;
};

std::vector<NodeId> Claims::Impl::trio(const Digest& digest) const {
  if (candidates.empty()) return {config.self};  // draining and alone: this node keeps its own book
  return hrw_top(config.id_key, candidates, blob_domain, digest.to_wire(), registrar_count);
}

void Claims::Impl::send(const NodeId& to, const SwarmTag& tag, ClaimBody body) {
  const bool for_registrar = body.index() < 6;  // WANT to UNWANT; the rest are answers
  if (to == config.self) {
    local.emplace_back(for_registrar, Local{tag, std::move(body)});
    return;
  }
  transmit(to, tag, std::move(body));
}

void Claims::Impl::transmit(const NodeId& to, const SwarmTag& tag, ClaimBody body) {
  ++sent;
  Bytes payload = encode_claim({tag, std::move(body)});
  WAGGLE_ASSERT(payload.size() <= config.payload_bytes_max);
  events.push_back(ClaimsSend{to, std::move(payload)});
}

// One node cannot push out everybody else's tables: beyond its share its own oldest goes.
void Claims::Impl::make_room(TimePoint now, const NodeId& from) {
  for (auto it = tables.begin(); it != tables.end();) {
    const auto table = it++;
    if (table->second.last_use() + table_ttl <= now) forget(table);
  }
  const auto is_theirs = [&](const auto& entry) { return entry.second.creator() == from; };
  if (std::count_if(tables.begin(), tables.end(), is_theirs) >=
      static_cast<std::ptrdiff_t>(limits::registrar_blobs_per_node_max)) {
    auto oldest = tables.end();
    for (auto it = tables.begin(); it != tables.end(); ++it) {
      if (is_theirs(*it) && (oldest == tables.end() || used_earlier(*it, *oldest))) oldest = it;
    }
    forget(oldest);
  } else if (tables.size() >= limits::registrar_blobs_max) {
    forget(std::min_element(tables.begin(), tables.end(), used_earlier));
  }
}

ClaimTable& Claims::Impl::table_of(TimePoint now, const NodeId& from, const SwarmTag& tag) {
  const auto found = tables.find(tag);
  if (found != tables.end()) return found->second;
  make_room(now, from);
  return tables.try_emplace(tag, now, from).first->second;
}

void Claims::Impl::forget(std::map<SwarmTag, ClaimTable>::iterator table) {
  entries -= static_cast<std::int64_t>(table->second.counted_entries());
  tables.erase(table);
}

void Claims::Impl::count_entries(ClaimTable& table) {
  entries += table.recount();
  while (entries > static_cast<std::int64_t>(limits::registrar_entries_max) && tables.size() > 1) {
    auto victim = tables.end();
    for (auto it = tables.begin(); it != tables.end(); ++it) {
      if (&it->second != &table && (victim == tables.end() || used_earlier(*it, *victim))) {
        victim = it;
      }
    }
    forget(victim);
  }
}

void Claims::Impl::answer_denied(const NodeId& to, const SwarmTag& tag,
                                 const std::vector<ExtentClaim>& denied) {
  if (denied.empty()) return;
  VoteMessage message;
  for (const auto& claim : denied) message.votes.push_back({claim, false});
  send(to, tag, std::move(message));
}

void Claims::Impl::tell_grants(const SwarmTag& tag,
                               const std::vector<ClaimTable::Granted>& granted_now) {
  for (const auto& grant : granted_now)
    send(grant.to, tag, GrantMessage{grant.request, grant.grants});
}

void Claims::Impl::serve_waiting(TimePoint now, const SwarmTag& tag, ClaimTable& table) {
  const std::uint64_t before = table.takeovers();
  tell_grants(tag, table.assign(now));
  takeovers += table.takeovers() - before;
}

void Claims::Impl::send_news(const NodeId& to, const SwarmTag& tag, const WantMessage& want,
                             const ClaimTable& table) {
  NewsMessage news{want.request, table.size(), {}, table.holders()};
  std::erase(news.holders, to);
  std::vector<NodeId> wanters = table.wanters();
  std::erase(wanters, to);
  prng.shuffle(std::span<NodeId>(wanters));
  // Who fetches begins the chains of all the others.
  if (want.claims.empty()) wanters.resize(std::min(wanters.size(), news_sample));
  std::size_t told = 0;
  do {
    news.wanters.clear();
    for (; told < wanters.size() && news.wanters.size() < news_wanters_max; ++told)
      news.wanters.push_back(hop_name(wanters[told]));
    send(to, tag, news);
    news.holders.clear();
  } while (told < wanters.size());
}

void Claims::Impl::registrar_message(TimePoint now, const NodeId& from, const SwarmTag& tag,
                                     const ClaimBody& body) {
  ClaimTable& table = table_of(now, from, tag);
  std::vector<ExtentClaim> denied;
  if (const auto* want = std::get_if<WantMessage>(&body)) {
    table.want(now, from, *want, denied);
    send_news(from, tag, *want, table);
  } else if (const auto* claim = std::get_if<ClaimMessage>(&body)) {
    const std::uint64_t before = table.takeovers();
    std::vector<ClaimTable::Granted> granted_now;
    const bool waits = table.claim(now, from, *claim, granted_now);
    takeovers += table.takeovers() - before;
    tell_grants(tag, granted_now);
    if (waits) send(from, tag, GrantMessage{claim->request, {}});
  } else if (const auto* confirm = std::get_if<ConfirmMessage>(&body)) {
    send(from, tag, VoteMessage{confirm->request, table.confirm(now, from, *confirm)});
  } else if (const auto* progress = std::get_if<ProgressMessage>(&body)) {
    table.progress(now, from, *progress, denied);
  } else if (const auto* release = std::get_if<ReleaseMessage>(&body)) {
    table.release(now, from, *release);
  } else if (const auto* unwant = std::get_if<UnwantMessage>(&body)) {
    table.unwant(now, from, *unwant);
  }
  answer_denied(from, tag, denied);
  serve_waiting(now, tag, table);
  count_entries(table);
}

void Claims::Impl::deliver_local(TimePoint now) {
  while (!local.empty()) {
    auto [for_registrar, message] = std::move(local.front());
    local.pop_front();
    if (for_registrar) {
      registrar_message(now, config.self, message.tag, message.body);
    } else if (const auto seeker = seekers.find(message.tag); seeker != seekers.end()) {
      seeker->second.core.handle(now, config.self, message.body);
    }
    collect(now);
  }
}

void Claims::Impl::collect(TimePoint now) {
  for (auto& [tag, seeker] : seekers) {
    while (auto output = seeker.core.poll_output()) {
      if (auto* message = std::get_if<ClaimSeeker::Send>(&*output)) {
        send(message->to, tag, std::move(message->body));
      } else if (const auto* permit = std::get_if<ClaimSeeker::Permit>(&*output)) {
        const PermitId id{tag, permit->extent};
        if (permit->needed) {
          permits.ask(now, host_of(seeker.key), id, seeker.core.state().reader_waits);
        } else {
          permits.end(now, id);
        }
      } else {
        event_of(now, seeker, std::get<ClaimsEvent>(*std::move(output)));
      }
    }
  }
}

// A claim without its permit waits.
void Claims::Impl::event_of(TimePoint now, const Seeker& seeker, ClaimsEvent event) {
  if (const auto* granted_extent = std::get_if<ExtentGranted>(&event)) {
    const PermitId id{granted_extent->tag, granted_extent->extent};
    permits.ask(now, host_of(seeker.key), id, seeker.core.state().reader_waits);
    if (!permits.holds(id)) {
      waiting[id] = granted_extent->attempt;
      return;
    }
  } else if (const auto* revoked = std::get_if<ExtentRevoked>(&event)) {
    // Where its request is under way it has its permit to the next chunk's end.
    const PermitId id{revoked->tag, revoked->extent};
    if (waiting.contains(id)) end_permit(now, id);
  }
  events.push_back(std::move(event));
}

bool Claims::Impl::drain_permits(TimePoint now) {
  bool any = false;
  while (auto output = permits.poll_output()) {
    any = true;
    if (auto* message = std::get_if<HostPermits::Send>(&*output)) {
      if (message->to == config.self) {
        permits.handle(now, config.self, message->host, message->body);
      } else {
        transmit(message->to, message->host, std::move(message->body));
      }
    } else if (const auto* given = std::get_if<HostPermits::Granted>(&*output)) {
      const auto claim = waiting.find(given->permit);
      if (claim == waiting.end()) continue;  // the others still vote
      events.push_back(ExtentGranted{given->permit.blob, given->permit.extent, claim->second});
      waiting.erase(claim);
    } else if (auto* paused = std::get_if<HostPermits::Paused>(&*output)) {
      events.push_back(
          HostPaused{std::move(paused->host), paused->pause.credential, paused->pause.remaining});
    }
  }
  return any;
}

/// First of every input. A process that was stopped has PROGRESS waiting unread: it must not judge
/// others by its own pause (as Lifeguard's local health does for suspicions).
void Claims::Impl::enter(TimePoint now) {
  if (!deadline || now - *deadline <= own_pause) return;
  for (auto& [tag, table] : tables) table.excuse(now);
  permits.excuse(now);
}

void Claims::Impl::settle(TimePoint now) {
  do {
    collect(now);
    deliver_local(now);
  } while (drain_permits(now));
  deadline = next_deadline();
}

std::optional<TimePoint> Claims::Impl::next_deadline() const {
  std::optional<TimePoint> next = permits.poll_timeout();
  for (const auto& [tag, table] : tables) next = earliest(next, table.next_deadline());
  for (const auto& [tag, seeker] : seekers) next = earliest(next, seeker.core.poll_timeout());
  return next;
}

Claims::Claims(const ClaimsConfig& config) : impl_(std::make_unique<Impl>(config)) {}
Claims::~Claims() = default;

void Claims::set_members(TimePoint now, std::span<const NodeId> registrar_candidates) {
  impl_->enter(now);
  impl_->candidates.assign(registrar_candidates.begin(), registrar_candidates.end());
  for (auto& [tag, seeker] : impl_->seekers)
    seeker.core.set_registrars(now, impl_->trio(seeker.key.digest));
  impl_->permits.set_members(now, registrar_candidates);
  impl_->settle(now);
}

void Claims::member_gone(TimePoint now, const NodeId& node) {
  impl_->enter(now);
  for (auto& [tag, table] : impl_->tables) {
    table.node_gone(now, node);
    impl_->serve_waiting(now, tag, table);
    impl_->entries += table.recount();
  }
  impl_->permits.member_gone(now, node);
  impl_->settle(now);
}

void Claims::handle_message(TimePoint now, const NodeId& from, ByteView payload) {
  impl_->enter(now);
  const auto packet = decode_claim(payload);
  if (!packet) return;  // authentic to the cluster only: nobody is blamed for it
  if (is_about_permits(packet->body)) {
    impl_->permits.handle(now, from, packet->tag, packet->body);
  } else if (packet->body.index() < 6) {
    impl_->registrar_message(now, from, packet->tag, packet->body);
  } else if (const auto seeker = impl_->seekers.find(packet->tag); seeker != impl_->seekers.end()) {
    seeker->second.core.handle(now, from, packet->body);
  }
  impl_->settle(now);
}

void Claims::handle_timeout(TimePoint now) {
  impl_->enter(now);
  for (auto& [tag, table] : impl_->tables) {
    const auto deadline = table.next_deadline();
    if (!deadline || *deadline > now) continue;
    impl_->serve_waiting(now, tag, table);
    impl_->entries += table.recount();
  }
  for (auto& [tag, seeker] : impl_->seekers) seeker.core.handle_timeout(now);
  const auto permits_due = impl_->permits.poll_timeout();
  if (permits_due && *permits_due <= now) impl_->permits.handle_timeout(now);
  impl_->settle(now);
}

void Claims::want(TimePoint now, const SwarmKey& key, const WantState& state) {
  impl_->enter(now);
  const SwarmTag tag = key.tag();
  auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) {
    const bool is_brisk = impl_->seekers.size() < brisk_seekers_max;
    ClaimSeeker core(tag, impl_->config.incarnation, impl_->prng.next(), is_brisk);
    found = impl_->seekers.emplace(tag, Impl::Seeker{key, std::move(core)}).first;
    found->second.core.set_registrars(now, impl_->trio(key.digest));
  }
  found->second.core.want(now, state);
  impl_->settle(now);
}

void Claims::unwant(TimePoint now, const SwarmTag& tag, bool completed) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) return;
  found->second.core.unwant(completed);
  impl_->collect(now);
  impl_->permits.end_all(now, tag);
  std::erase_if(impl_->waiting, [&](const auto& entry) { return entry.first.blob == tag; });
  impl_->granted += found->second.core.granted();
  impl_->waited += found->second.core.waited();
  impl_->seekers.erase(found);
  impl_->settle(now);
}

void Claims::size_known(TimePoint now, const SwarmTag& tag, std::uint64_t size, bool whole_stream) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) return;
  found->second.core.size_known(now, size, whole_stream);
  impl_->settle(now);
}

void Claims::progress(TimePoint now, const SwarmTag& tag, ExtentIndex extent, std::uint64_t bytes) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) return;
  ClaimSeeker& core = found->second.core;
  core.progress(now, extent, bytes);
  const std::uint64_t chunk = core.state().size ? BlobLayout(*core.state().size).chunk_bytes() : 0;
  impl_->permits.progress(now, {tag, extent}, bytes, core.claim_bytes(extent), chunk);
  impl_->settle(now);
}

void Claims::extent_done(TimePoint now, const SwarmTag& tag, ExtentIndex extent) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) return;
  found->second.core.end_claim(extent, true);
  impl_->end_permit(now, {tag, extent});
  impl_->settle(now);
}

void Claims::release(TimePoint now, const SwarmTag& tag, ExtentIndex extent) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found == impl_->seekers.end()) return;
  found->second.core.end_claim(extent, false);
  impl_->end_permit(now, {tag, extent});
  impl_->settle(now);
}

void Claims::fetch_over(TimePoint now, const SwarmTag& tag, ExtentIndex extent) {
  impl_->enter(now);
  const auto found = impl_->seekers.find(tag);
  if (found != impl_->seekers.end() && found->second.core.holds(extent)) return;
  impl_->end_permit(now, {tag, extent});
  impl_->settle(now);
}

void Claims::host_paused(TimePoint now, const std::string& origin, std::uint64_t credential,
                         Duration remaining) {
  impl_->enter(now);
  impl_->permits.paused(now, origin, credential, remaining);
  impl_->settle(now);
}

std::optional<ClaimsEvent> Claims::poll_event() {
  if (impl_->events.empty()) return std::nullopt;
  ClaimsEvent event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

std::optional<TimePoint> Claims::poll_timeout() const { return impl_->deadline; }

std::vector<NodeId> Claims::registrars(const Digest& digest) const { return impl_->trio(digest); }

std::size_t Claims::granted_count(const SwarmTag& tag) const {
  const auto found = impl_->seekers.find(tag);
  return found == impl_->seekers.end() ? 0 : found->second.core.held_count();
}

std::size_t Claims::waiting_count(const SwarmTag& tag) const {
  return static_cast<std::size_t>(
      std::count_if(impl_->waiting.begin(), impl_->waiting.end(),
                    [&](const auto& entry) { return entry.first.blob == tag; }));
}

std::vector<NodeId> Claims::host_registrars(const std::string& origin) const {
  return impl_->permits.registrars(origin);
}

Claims::Stats Claims::stats() const {
  Stats stats{impl_->granted, impl_->waited, impl_->takeovers, impl_->sent};
  for (const auto& [tag, seeker] : impl_->seekers) {
    stats.granted += seeker.core.granted();
    stats.waited += seeker.core.waited();
  }
  return stats;
}

void Claims::check_invariants() const {
  WAGGLE_ASSERT(impl_->local.empty());
  WAGGLE_ASSERT(impl_->tables.size() <= limits::registrar_blobs_max);
  std::int64_t entries = 0;
  for (const auto& [tag, table] : impl_->tables) {
    table.check_invariants();
    entries += static_cast<std::int64_t>(table.counted_entries());
    WAGGLE_ASSERT(table.counted_entries() == table.entry_count());
  }
  WAGGLE_ASSERT(entries == impl_->entries);
  WAGGLE_ASSERT(entries <= static_cast<std::int64_t>(limits::registrar_entries_max) ||
                impl_->tables.size() == 1);
  for (const auto& [tag, seeker] : impl_->seekers) seeker.core.check_invariants();
  impl_->permits.check_invariants();
  for (const auto& [permit, attempt] : impl_->waiting) {
    WAGGLE_ASSERT(impl_->seekers.contains(permit.blob) && !impl_->permits.holds(permit));
  }
}

}  // namespace waggle::transfer
