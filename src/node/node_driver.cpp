// Start-up, the pump, and the loops of the daemon. What the operator's API answers is in
// node_api_driver.cpp.
#include "node/node_driver.hpp"

#include "mirror/blob_url.hpp"
#include "node/address_driver.hpp"
#include "node/error.hpp"
#include "node/log_driver.hpp"
#include "node/notify_driver.hpp"
#include "node/state_files_driver.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <csignal>
#include <thread>
#include <utility>

#include <unistd.h>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

constexpr Duration upkeep_interval = std::chrono::seconds(5);
constexpr Duration drain_time_max = std::chrono::seconds(8);
constexpr Duration leave_time = std::chrono::milliseconds(300);
constexpr std::size_t pool_threads_max = 4;
/// With no more threads than these the strand seals and opens itself: handing a batch to a worker
/// and back costs a quarter of what sealing it does, and the CPUs have enough to do.
constexpr std::size_t workers_for_hashing = 2;

std::uint64_t wall_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "waggle";
  return std::string(name.data()).substr(0, limits::node_name_bytes_max);
}

[[noreturn]] void fail_key(const ConfigResult& config, const char* key,
                           const std::string& message) {
  throw StartError(2, config.place_of(key) + ": " + key + ": " + message);
}

std::vector<Endpoint> bind_endpoints(const ConfigResult& config, const char* key,
                                     const std::vector<std::string>& entries) {
  std::vector<Endpoint> endpoints;
  for (const auto& entry : entries) {
    const auto resolved = resolve_bind(entry);
    if (!resolved)
      fail_key(config, key, "'" + entry + "' is not address:port, if:NAME:port or CIDR:port");
    if (resolved->empty())
      fail_key(config, key, "'" + entry + "' matches no address of this machine");
    endpoints.insert(endpoints.end(), resolved->begin(), resolved->end());
  }
  return endpoints;
}

/// A label of bounded variety: our own reasons by name, whatever the system says as one.
std::string reason_label(const boost::system::error_code& error) {
  return error.category() == transfer::transfer_category() ? error.message() : "connection_lost";
}

/// Part of a session's ordinary life.
bool is_ordinary_end(const boost::system::error_code& error) {
  return error == transfer::TransferError::closed_by_peer ||
         error == transfer::TransferError::closed_locally ||
         error == transfer::TransferError::duplicate_session ||
         error == transfer::TransferError::session_moved;
}

gossip::BroadcastMode broadcast_mode(const std::string& name) {
  if (name == "relay") return gossip::BroadcastMode::relay;
  if (name == "unicast") return gossip::BroadcastMode::unicast;
  if (name == "multicast") return gossip::BroadcastMode::multicast;
  return gossip::BroadcastMode::automatic;
}

}  // namespace

mirror::UpstreamConfig upstream_settings(const ConfigResult& result) {
  const Config& config = result.config;
  mirror::UpstreamConfig upstream;
  for (const auto& [name, registry] : config.upstream.registries) {
    std::string password;
    if (!registry.password_file.empty()) {
      const auto text = read_file(registry.password_file, 4096);
      if (!text) {
        fail_key(result, "upstream.registries",
                 "'" + name + "': cannot read " + registry.password_file + ": " +
                     text.error().message());
      }
      password = *text;
      while (!password.empty() && (password.back() == '\n' || password.back() == '\r'))
        password.pop_back();
    }
    upstream.registries[name] = {registry.endpoint, registry.username, password, registry.ca_file,
                                 registry.insecure};
  }
  upstream.docker_config = config.upstream.docker_config;
  upstream.connect_timeout = config.upstream.connect_timeout;
  upstream.idle_timeout = config.upstream.idle_timeout;
  upstream.allow = config.upstream.allow;
  upstream.allow_local = config.upstream.allow_local;
  mirror::read_proxy_environment(upstream);
  return upstream;
}

NodeDriver::NodeDriver(ConfigResult config, ConfigLoader loader)
    : config_(std::move(config)), loader_(std::move(loader)) {
  if (config_.config.node.name.empty()) config_.config.node.name = host_name();
  open_store();
  open_cluster();
  open_http();
  recover_content();
}

NodeDriver::~NodeDriver() {
  // Sockets first: their callbacks refer to everything else.
  mirror_server_.reset();
  ops_server_.reset();
  if (tcp_) tcp_->stop();
  tcp_.reset();
  udp_.reset();
  hints_driver_.reset();
  if (!config_.config.ops.socket.empty()) ::unlink(config_.config.ops.socket.c_str());
}

TimePoint NodeDriver::now() const {
  return TimePoint(
      std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - started_));
}

void NodeDriver::open_store() {
  const std::string& data_dir = config_.config.node.data_dir;
  auto store = cache::StoreDriver::open(data_dir);
  if (!store) {
    fail_key(config_, "node.data_dir", "cannot use " + data_dir + ": " + store.error().message());
  }
  store_ = *std::move(store);
  identity_ = load_identity(data_dir, random_);
  const auto disk = store_->disk_stats();
  if (!disk)
    throw StartError(1, "cannot read the size of the file system of " + data_dir + ": " +
                            disk.error().message());
  disk_free_bytes_ = disk->free_bytes;
  cache_quota_bytes_ = config_.config.cache.max_bytes.resolve(disk->total_bytes);
  payload_ = std::make_unique<PayloadDriver>(context_.get_executor(), *store_, pool_threads());
}

std::size_t NodeDriver::pool_threads() const {
  const std::size_t wanted = config_.config.transfer.threads;
  const std::size_t cpus = std::max(1U, std::thread::hardware_concurrency());
  return wanted != 0 ? wanted : std::min(cpus, pool_threads_max);
}

void NodeDriver::open_cluster() {
  const Config& config = config_.config;
  const KeyRing keys = load_keys(config.cluster.key_files, config_.place_of("cluster.key_files"));
  key_names_ = names_of(keys);
  bound_ = bind_endpoints(config_, "cluster.bind", config.cluster.bind);
  std::vector<Endpoint> addresses;
  for (const auto& entry : config.cluster.join) {
    // Malformed ones have ended the start.
    hints_.push_back(std::get<JoinHint>(parse_join_hint(entry)));
    const JoinHint::Kind kind = hints_.back().kind;
    if (kind == JoinHint::Kind::address || kind == JoinHint::Kind::multicast)
      addresses.push_back(hints_.back().endpoint);
  }
  groups_ = multicast_groups(hints_, config.cluster.broadcast == "multicast", bound_);
  DistributorConfig core;
  core.gossip.cluster_name = config.cluster.name;
  core.gossip.keys = keys;
  for (const auto& entry : config.cluster.advertise) {
    const auto endpoint = Endpoint::parse(entry);
    if (!endpoint) fail_key(config_, "cluster.advertise", "'" + entry + "' is not address:port");
    core.gossip.advertise.push_back(*endpoint);
  }
  if (core.gossip.advertise.empty()) core.gossip.advertise = default_advertise(bound_, addresses);
  core.gossip.advertise.resize(
      std::min(core.gossip.advertise.size(), limits::member_addresses_max));
  core.gossip.name = config.node.name;
  core.gossip.zone = config.node.zone;
  core.gossip.packet_bytes = config.cluster.packet_bytes;
  core.gossip.broadcast = broadcast_mode(config.cluster.broadcast);
  if (!groups_.empty()) core.gossip.multicast_group = groups_.front();
  core.gossip.join_by_multicast = std::any_of(hints_.begin(), hints_.end(), [](const auto& hint) {
    return hint.kind == JoinHint::Kind::multicast;
  });
  core.gossip.incarnation = next_incarnation(config.node.data_dir, wall_ms());
  auto told = ToldLogFile::open(config.node.data_dir, config.cluster.name);
  if (!told) {
    throw StartError(1, "cannot use " + config.node.data_dir + "/told: " + told.error().message());
  }
  told_.emplace(*std::move(told));
  core.gossip.told = told_->log();
  std::array<std::byte, 8> seed{};
  random_.fill(seed);
  core.gossip.seed = load_le<std::uint64_t>(seed);
  core.exchange.cluster_name = config.cluster.name;
  core.exchange.incarnation = core.gossip.incarnation;
  core.exchange.seed = mix_seed(core.gossip.seed);
  core.exchange.upstream_allowed = config.mirror.on_miss == "fetch";
  core.exchange.reports_sent_blocks = true;
  core.exchange.relays = config.transfer.relay;
  core.exchange.in_flight_per_host = static_cast<std::uint32_t>(config.upstream.in_flight_per_host);
  core.cache_quota_bytes = cache_quota_bytes_;
  const auto disk = store_->disk_stats();
  core.eviction.min_free_bytes = config.cache.min_free.resolve(disk ? disk->total_bytes : 0);
  distributor_ = std::make_unique<Distributor>(core, *identity_, random_, now());

  open_sockets(keys);
  open_hints();
}

void NodeDriver::open_sockets(const KeyRing& keys) {
  udp_ = std::make_unique<gossip::UdpDriver>(
      context_.get_executor(), bound_,
      [this](const Endpoint& from, ByteView datagram) {
        distributor_->handle_datagram(now(), from, datagram);
        pump();
      },
      [](const Endpoint& to) { return local_address_towards(to, 0); });
  if (const auto opened = udp_->start(); !opened) {
    throw StartError(1, "cannot bind gossip (cluster.bind): " + opened.error().message());
  }
  if (!groups_.empty()) {
    if (const auto joined = udp_->join(groups_, multicast_interfaces(bound_)); !joined)
      spdlog::warn("multicast group {}: {}", groups_.front().to_string(), joined.error().message());
  }
  transfer::TcpConfig tcp;
  tcp.bind = bound_;
  tcp.cluster_name = config_.config.cluster.name;
  if (pool_threads() > workers_for_hashing) tcp.workers = payload_->workers();
  tcp_ = std::make_unique<transfer::TcpDriver>(context_.get_executor(), tcp, keys, *identity_,
                                               random_, tcp_callbacks());
  if (const auto opened = tcp_->start(); !opened) {
    throw StartError(1, "cannot bind transfer (cluster.bind): " + opened.error().message());
  }
}

void NodeDriver::open_hints() {
  std::array<std::byte, 8> seed{};
  random_.fill(seed);
  HintsDeps deps;
  deps.now = [this] { return now(); };
  deps.alone = [this] { return distributor_->gossip().live().size() <= 1; };
  deps.own = [this] { return own_endpoints(bound_); };
  deps.apply = [this](HintList list) {
    distributor_->set_hints(now(), std::move(list.endpoints), list.more_expected);
    pump();
  };
  hints_driver_ = std::make_unique<HintsDriver>(context_.get_executor(), hints_,
                                                load_le<std::uint64_t>(seed), std::move(deps));
}

void NodeDriver::open_http() {
  const Config& config = config_.config;
  upstream_ =
      std::make_unique<mirror::UpstreamDriver>(context_.get_executor(), upstream_settings(config_));
  upstream_->on_pause([this](const std::string& origin, std::uint64_t credential, Duration left) {
    input([&](TimePoint at, transfer::Exchange& exchange) {
      exchange.host_paused(at, origin, credential, left);
    });
  });
  const CoreInput core_input = [this](const auto& apply) { input(apply); };
  fetches_ = std::make_unique<FetchDriver>(context_.get_executor(), *upstream_, *payload_, metrics_,
                                           core_input);
  content_ = std::make_unique<ContentDriver>(
      context_.get_executor(), config.mirror, config.cluster.name,
      ContentDeps{*distributor_, *payload_, *fetches_, *upstream_, metrics_, core_input,
                  [this] { return now(); }, wall_ms});
  oci_ = std::make_unique<mirror::OciHandler>(
      *content_,
      mirror::OciConfig{config.mirror.default_registry, config.mirror.first_byte,
                        [this](const auto& request) { served(ops::Protocol::oci, request); }});
  blobs_ = std::make_unique<mirror::BlobsHandler>(
      *content_, mirror::BlobsConfig{config.mirror.first_byte, [this](const auto& request) {
                                       served(ops::Protocol::overlaybd, request);
                                     }});
  mirror::HttpServerConfig server;
  server.allow = config.mirror.allow;
  server.error_body = mirror::OciHandler::error_body;
  mirror_server_ = std::make_unique<mirror::HttpServer>(
      context_.get_executor(), server, [this](mirror::HttpExchange& exchange) {
        const std::string& target = exchange.request().target;
        if (mirror::is_blobs_target(target)) return blobs_->handle(exchange);
        // Proves to `waggle doctor` that this port is ours.
        if (target.starts_with("/livez?") || target == "/livez") return serve_livez(exchange);
        return oci_->handle(exchange);
      });
  for (const auto& endpoint : bind_endpoints(config_, "mirror.bind", config.mirror.bind)) {
    if (const auto bound = mirror_server_->listen(endpoint); !bound) {
      throw StartError(
          1, "cannot bind mirror.bind " + endpoint.to_string() + ": " + bound.error().message());
    }
  }
  mirror::HttpServerConfig ops;
  ops.allow_all = true;
  ops.error_body = [](unsigned status, std::string_view message) {
    return ops::error_body("HTTP_" + std::to_string(status), message, "");
  };
  ops_server_ = std::make_unique<mirror::HttpServer>(
      context_.get_executor(), ops,
      [this](mirror::HttpExchange& exchange) { return serve_ops(exchange); });
  for (const auto& endpoint : bind_endpoints(config_, "ops.bind", config.ops.bind)) {
    if (const auto bound = ops_server_->listen(endpoint); !bound) {
      throw StartError(
          1, "cannot bind ops.bind " + endpoint.to_string() + ": " + bound.error().message());
    }
  }
  if (!config.ops.socket.empty()) {
    make_parent_directory(config.ops.socket);
    if (const auto bound = ops_server_->listen_unix(config.ops.socket, 0660); !bound) {
      throw StartError(
          1, "cannot bind ops.socket " + config.ops.socket + ": " + bound.error().message());
    }
  }
}

void NodeDriver::recover_content() {
  auto recovered = store_->recover();
  if (!recovered) throw StartError(1, "cannot read the store: " + recovered.error().message());
  // The order of last use survives as the order of insertion at the start of time.
  std::sort(recovered->blobs.begin(), recovered->blobs.end(),
            [](const auto& a, const auto& b) { return a.last_use < b.last_use; });
  TimePoint order{};
  for (const auto& blob : recovered->blobs) {
    distributor_->content_found(now(), blob.digest, blob.size, order += Duration{1});
  }
  distributor_->store_scanned(now());
  for (auto& partial : recovered->partials) {
    // Every chunk is here, only the commit was missing.
    if (partial.held.all()) unfinished_.push_back({partial.digest, partial.origin});
    distributor_->partial_found(partial.digest, partial.origin, partial.size,
                                std::move(partial.held), order += Duration{1});
  }
  if (!recovered->blobs.empty() || !recovered->partials.empty()) {
    spdlog::info("store holds {} blobs and {} partial downloads", recovered->blobs.size(),
                 recovered->partials.size());
  }
}

int NodeDriver::run() {
  signals_.add(SIGTERM);
  signals_.add(SIGINT);
  signals_.add(SIGHUP);
  asio::co_spawn(context_, wait_timer(), asio::detached);
  hints_driver_->start();
  asio::co_spawn(context_, upkeep(), asio::detached);
  if (const auto interval = watchdog_interval()) {
    asio::co_spawn(context_, pet_watchdog(*interval), asio::detached);
  }
  asio::co_spawn(context_, wait_signals(), asio::detached);
  distributor_->disk_free(now(), disk_free_bytes_);
  for (const auto& key : unfinished_) (void)distributor_->open(now(), key);
  pump();
  spdlog::info("waggled {} is up: node {} ({}), cluster {}", WAGGLE_VERSION,
               config_.config.node.name, identity_->node_id().short_string(),
               config_.config.cluster.name);
  notify_service_manager("READY=1");
  context_.run();
  return 0;
}

void NodeDriver::input(const std::function<void(TimePoint, transfer::Exchange&)>& apply) {
  const TimePoint at = now();
  apply(at, distributor_->exchange());
  distributor_->settle(at);
  pump();
}

void NodeDriver::pump() {
  if (pumping_) return;  // called from inside a command: the loop below takes what it brought
  pumping_ = true;
  for (bool moved = true; moved;) {
    moved = false;
    while (auto transmit = distributor_->poll_transmit()) {
      udp_->send(transmit->to, transmit->datagram);
      moved = true;
    }
    while (auto command = distributor_->poll_command()) {
      execute(*std::move(command));
      moved = true;
    }
  }
  pumping_ = false;
  const auto deadline = distributor_->poll_timeout();
  const auto wake =
      deadline ? started_ + deadline->time_since_epoch() : asio::steady_timer::time_point::max();
  if (timer_.expiry() != wake) timer_.expires_at(wake);
}

transfer::TcpCallbacks NodeDriver::tcp_callbacks() {
  transfer::TcpCallbacks callbacks;
  callbacks.on_session_open = [this](SessionId session, const NodeId& peer, bool, const Endpoint&) {
    metrics_.count_handshake("ok");
    distributor_->session_opened(now(), session, peer);
    pump();
  };
  callbacks.on_dial_failed = [this](const NodeId& peer, boost::system::error_code error) {
    spdlog::debug("dialling {} failed: {}", peer.short_string(), error.message());
    distributor_->dial_failed(now(), peer);
    pump();
  };
  callbacks.on_session_closed = [this](SessionId session, const NodeId& peer,
                                       boost::system::error_code error) {
    metrics_.count_session_closed(reason_label(error));
    if (!is_ordinary_end(error)) {
      if (const auto more = log_limiter_.admit(now(), LogSite::session)) {
        spdlog::info("session with {} ended: {}{}", peer.short_string(), error.message(),
                     suppressed_note(*more));
      }
    }
    distributor_->session_closed(now(), session);
    pump();
  };
  callbacks.on_control = [this](SessionId session, const Bytes& message) {
    distributor_->handle_control(now(), session, message);
    pump();
  };
  callbacks.payload_place = [this](SessionId session, const transfer::PayloadHeader& header) {
    const auto swarm = distributor_->exchange().find(header.tag);
    if (!swarm) return MutableByteView{};
    return payload_->block_place(*swarm, header.chunk, session, header.offset, header.length);
  };
  callbacks.on_payload = [this](SessionId session, const transfer::PayloadHeader& header,
                                ByteView data) { receive_payload(session, header, data); };
  callbacks.on_payload_sent = [this](SessionId session, const transfer::PayloadHeader& header) {
    payload_left(session, header);
  };
  callbacks.on_payload_unavailable = [this](SessionId session,
                                            const transfer::PayloadHeader& header,
                                            boost::system::error_code error) {
    if (const auto more = log_limiter_.admit(now(), LogSite::unreadable_block)) {
      spdlog::warn("cannot read a block of chunk {} to send it: {}{}", to_value(header.chunk),
                   error.message(), suppressed_note(*more));
    }
    payload_left(session, header);
  };
  callbacks.on_handshake_failed = [this](boost::system::error_code error, bool outgoing) {
    metrics_.count_handshake(reason_label(error));
    if (error == transfer::TransferError::duplicate_session) return;  // the other dial won
    if (const auto more = log_limiter_.admit(now(), LogSite::handshake)) {
      spdlog::info("{} connection refused: {}{}", outgoing ? "outgoing" : "incoming",
                   error.message(), suppressed_note(*more));
    }
  };
  return callbacks;
}

void NodeDriver::receive_payload(SessionId session, const transfer::PayloadHeader& header,
                                 ByteView data) {
  const transfer::BlockFrame frame{header.tag, header.chunk, header.offset,
                                   static_cast<std::uint32_t>(data.size()), header.relayed};
  input([&](TimePoint at, transfer::Exchange& exchange) {
    const auto buffer = exchange.block_received(at, session, frame);
    if (!buffer) return;
    payload_->receive_block(buffer->swarm, header.chunk, buffer->source,
                            header.offset + buffer->skip, data.subspan(buffer->skip));
  });
}

void NodeDriver::payload_left(SessionId session, const transfer::PayloadHeader& header) {
  // Counts only: nothing to do comes of it, so the core need not be asked.
  if (!header.relayed) return distributor_->exchange().block_sent(now(), session);
  distributor_->exchange().relay_sent(now(), session, header.length);
  fetches_->relay_moved();
}

void NodeDriver::served(ops::Protocol protocol, const mirror::ServedRequest& request) {
  metrics_.count_request(protocol, request.status, request.first_byte.value_or(request.duration),
                         request.duration);
  if (request.cut) {
    if (const auto more = log_limiter_.admit(now(), LogSite::cut_response)) {
      spdlog::warn("cut {} after {} bytes{}", loggable(request.target), request.body_bytes,
                   suppressed_note(*more));
    }
  }
  if (!spdlog::should_log(spdlog::level::debug)) return;
  spdlog::debug("{} {} -> {} {} bytes{} in {:.3f} s", request.method, loggable(request.target),
                request.status, request.body_bytes, request.cut ? " (cut)" : "",
                to_seconds(request.duration));
}

asio::awaitable<void> NodeDriver::wait_timer() {
  while (!context_.stopped()) {
    const auto [error] = co_await timer_.async_wait(no_throw);
    // A cancelled wait means that pump() moved the deadline.
    if (!error) {
      distributor_->handle_timeout(now());
      pump();
      if (timer_.expiry() <= std::chrono::steady_clock::now())
        timer_.expires_after(std::chrono::milliseconds(1));
    }
  }
}

asio::awaitable<void> NodeDriver::upkeep() {
  for (;;) {
    upkeep_timer_.expires_after(upkeep_interval);
    const auto [stopped] = co_await upkeep_timer_.async_wait(no_throw);
    if (stopped) co_return;
    if (const auto disk = store_->disk_stats()) {
      disk_free_bytes_ = disk->free_bytes;
      distributor_->disk_free(now(), disk_free_bytes_);
      pump();
    }
    hints_driver_->note_members();
    log_versions();
  }
}

void NodeDriver::log_versions() {
  const unsigned version = distributor_->gossip().cluster_version();
  const std::size_t incompatible = distributor_->gossip().stats().incompatible;
  if (version != std::exchange(logged_version_, static_cast<std::uint8_t>(version))) {
    spdlog::info("protocol version {} is what every member speaks", version);
  }
  if (incompatible > std::exchange(logged_incompatible_, incompatible)) {
    spdlog::warn("{} members share no protocol version with this node: they are only probed",
                 incompatible);
  }
}

asio::awaitable<void> NodeDriver::pet_watchdog(Duration interval) {
  asio::steady_timer timer(context_);
  for (;;) {
    timer.expires_after(interval);
    const auto [stopped] = co_await timer.async_wait(no_throw);
    if (stopped) co_return;
    notify_service_manager("WATCHDOG=1");
  }
}

asio::awaitable<void> NodeDriver::wait_signals() {
  for (;;) {
    const auto [error, signal] = co_await signals_.async_wait(no_throw);
    if (error) co_return;
    if (signal == SIGHUP) {
      const ops::ReloadResult result = reload(false);
      if (result.outcome != ops::ReloadResult::Outcome::done)
        spdlog::error("reload: {}; the running configuration stays", result.problem);
      continue;
    }
    if (draining_) {
      spdlog::warn("second signal: leaving at once");
      context_.stop();
      co_return;
    }
    drain();
  }
}

void NodeDriver::drain() {
  if (draining_) return;
  draining_ = true;
  asio::co_spawn(context_, shut_down(), asio::detached);
}

asio::awaitable<void> NodeDriver::shut_down() {
  spdlog::info("draining");
  notify_service_manager("STOPPING=1");
  content_->set_draining();
  distributor_->drain(now());
  pump();
  co_await mirror_server_->stop(drain_time_max);
  fetches_->stop();
  distributor_->leave(now());
  pump();
  // The departure is sent; a moment lets the kernel take it and peers' last blocks go out.
  asio::steady_timer last(context_, leave_time);
  co_await last.async_wait(no_throw);
  tcp_->stop();
  spdlog::info("left the cluster");
  context_.stop();
}

}  // namespace waggle::node
