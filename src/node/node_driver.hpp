// The daemon: one strand runs the distributor and every socket, a worker pool the hashing and the
// disk.
#pragma once

#include "base/identity.hpp"
#include "base/random_source.hpp"
#include "cache/store_driver.hpp"
#include "gossip/udp_driver.hpp"
#include "mirror/blobs_driver.hpp"
#include "mirror/http_server_driver.hpp"
#include "mirror/oci_driver.hpp"
#include "mirror/upstream_driver.hpp"
#include "node/config.hpp"
#include "node/content_driver.hpp"
#include "node/distributor.hpp"
#include "node/doctor_driver.hpp"
#include "node/fetch_driver.hpp"
#include "node/hints_driver.hpp"
#include "node/join_hint.hpp"
#include "node/log_limiter.hpp"
#include "node/payload_driver.hpp"
#include "node/told_log_driver.hpp"
#include "ops/http_api.hpp"
#include "ops/metrics.hpp"
#include "transfer/tcp_driver.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace waggle::node {

/// Reads the configuration again, for SIGHUP and `waggle reload`.
using ConfigLoader = std::function<ConfigResult()>;

/// What `upstream` and its password files say. Throws StartError for a file that cannot be read.
[[nodiscard]] mirror::UpstreamConfig upstream_settings(const ConfigResult& result);

class NodeDriver : public ops::ApiSource {
 public:
  /// Opens the store, the keys and every socket. Throws StartError.
  NodeDriver(ConfigResult config, ConfigLoader loader);
  ~NodeDriver() override;

  /// Runs until a signal or `waggle drain` ended the node. @return the exit code
  int run();

  // ops::ApiSource
  [[nodiscard]] bool ready() const override;
  [[nodiscard]] ops::StatusInfo status() override;
  [[nodiscard]] std::vector<ops::MemberInfo> members() override;
  [[nodiscard]] std::vector<ops::BlobInfo> blobs() override;
  [[nodiscard]] std::optional<ops::BlobInfo> blob(std::string_view digest) override;
  [[nodiscard]] std::vector<ops::SwarmInfo> swarms() override;
  [[nodiscard]] std::string metrics() override;
  [[nodiscard]] ops::DoctorReport doctor() override { return doctor_report_; }
  void drain() override;
  [[nodiscard]] ops::ReloadResult reload(bool force) override;

 protected:
  /// Carries out one command of the core; the hostile member of the tests puts itself here.
  virtual void execute(Command command);
  /// An input of the exchange, with all that follows from it.
  void input(const std::function<void(TimePoint, transfer::Exchange&)>& apply);
  [[nodiscard]] TimePoint now() const;
  [[nodiscard]] Distributor& distributor() { return *distributor_; }
  [[nodiscard]] PayloadDriver& payload() { return *payload_; }
  [[nodiscard]] transfer::TcpDriver& tcp() { return *tcp_; }
  [[nodiscard]] boost::asio::io_context& context() { return context_; }

 private:
  // Start-up, in this order.
  void open_store();
  [[nodiscard]] std::size_t pool_threads() const;
  void open_cluster();
  void open_sockets(const KeyRing& keys);
  void open_hints();
  void open_http();
  void recover_content();

  // The pump: the only place that drains the core.
  void pump();
  void run_command(Dial& command);
  void run_command(RemoveBlob& command);
  void run_command(RemovePartial& command);
  void run_command(PersistIncarnation& command);
  void run_command(PersistTold& command);
  void run_command(ReportClone& command);
  void run_command(transfer::SendControl& command);
  void run_command(transfer::SendBlock& command);
  void run_command(transfer::CloseSession& command);
  void run_command(transfer::CreateBlob& command);
  void run_command(transfer::VerifyChunk& command);
  void run_command(transfer::DropBuffer& command);
  void run_command(transfer::StartFetch& command);
  void run_command(transfer::CancelFetch& command);
  void run_command(transfer::HashLink& command);
  void run_command(transfer::CommitBlob& command);
  void run_command(transfer::CloseBlob& command);
  void run_command(transfer::LoadMidstates& command);
  void run_command(transfer::SwarmSize& command);
  void run_command(transfer::ChunkReady& command);
  void run_command(transfer::SwarmProven& command);
  void run_command(transfer::SwarmCommitted& command);
  void run_command(transfer::SwarmFailed& command);
  void run_command(transfer::SwarmTainted& command);
  void run_command(transfer::HostPaused& command);

  boost::asio::awaitable<void> wait_timer();
  boost::asio::awaitable<void> upkeep();
  void log_versions();
  boost::asio::awaitable<void> pet_watchdog(Duration interval);
  boost::asio::awaitable<void> wait_signals();
  boost::asio::awaitable<void> shut_down();
  boost::asio::awaitable<void> serve_ops(mirror::HttpExchange& exchange);
  boost::asio::awaitable<void> serve_livez(mirror::HttpExchange& exchange);
  [[nodiscard]] DoctorQuestions doctor_questions();
  boost::asio::awaitable<void> see_doctor();

  [[nodiscard]] transfer::TcpCallbacks tcp_callbacks();
  /// A frame was handed to the kernel, or was dropped.
  void payload_left(SessionId session, const transfer::PayloadHeader& header);
  void receive_payload(SessionId session, const transfer::PayloadHeader& header, ByteView data);
  void served(ops::Protocol protocol, const mirror::ServedRequest& request);
  void set_keys(const KeyRing& keys);
  [[nodiscard]] std::vector<ops::KeyInfo> key_infos() const;
  [[nodiscard]] ops::DoctorFacts::Rotation rotation_facts() const;
  [[nodiscard]] std::vector<ops::CloneInfo> clone_infos() const;
  [[nodiscard]] std::string member_name(const NodeId& id) const;
  [[nodiscard]] ops::BlobInfo blob_info(const Digest& digest);

  ConfigResult config_;
  ConfigLoader loader_;
  SystemRandomSource random_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  boost::asio::io_context context_{1};
  std::unique_ptr<cache::StoreDriver> store_;
  std::optional<Identity> identity_;
  ops::Metrics metrics_;
  LogLimiter log_limiter_;
  std::optional<ToldLogFile> told_;
  std::uint64_t persisted_incarnation_ = 0;  // at least this is on disk
  std::unique_ptr<Distributor> distributor_;
  std::unique_ptr<PayloadDriver> payload_;
  std::unique_ptr<mirror::UpstreamDriver> upstream_;
  std::unique_ptr<FetchDriver> fetches_;
  std::unique_ptr<ContentDriver> content_;
  std::unique_ptr<gossip::UdpDriver> udp_;
  std::unique_ptr<transfer::TcpDriver> tcp_;
  std::unique_ptr<HintsDriver> hints_driver_;
  std::unique_ptr<mirror::OciHandler> oci_;
  std::unique_ptr<mirror::BlobsHandler> blobs_;
  std::unique_ptr<mirror::HttpServer> mirror_server_;
  std::unique_ptr<mirror::HttpServer> ops_server_;
  KeyNames key_names_;
  TimePoint keys_since_{};  ///< when they became what they are, at the earliest the start
  std::vector<JoinHint> hints_;
  std::vector<Endpoint> groups_;  ///< multicast
  std::vector<Endpoint> bound_;
  std::vector<transfer::SwarmKey>
      unfinished_;  ///< full downloads that a crash kept from being committed
  std::uint64_t cache_quota_bytes_ = 0;
  std::uint64_t disk_free_bytes_ = 0;
  boost::asio::steady_timer timer_{context_};
  boost::asio::steady_timer upkeep_timer_{context_};
  boost::asio::signal_set signals_{context_};
  ops::DoctorReport doctor_report_;
  bool pumping_ = false;
  bool draining_ = false;
  std::uint8_t logged_version_ = 0;
  std::size_t logged_incompatible_ = 0;
};

}  // namespace waggle::node
