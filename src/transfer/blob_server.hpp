// Serves the blobs that are complete here to other nodes' swarms: what they ask, from the store.
// Used by the exchange; a blob that is still on its way is served by its swarm.
#pragma once

#include "base/digest.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "transfer/exchange_context.hpp"

#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace waggle::transfer {

class BlobServer {
 public:
  /// @param context  must outlive the object
  explicit BlobServer(ExchangeContext& context) : context_(context) {}

  // @pre the session is up
  void handle(TimePoint now, SessionId id, const OpenMessage& message);
  void handle(TimePoint now, SessionId id, const RequestMessage& message);
  void handle(TimePoint now, SessionId id, const GetMidstatesMessage& message);
  /// The answer to LoadMidstates.
  void midstates_loaded(const Digest& digest,
                        const std::optional<std::vector<Midstate>>& midstates);
  void session_closed(SessionId id);

 private:
  ExchangeContext& context_;
  /// Who waits for the list of a blob while it is loaded.
  std::map<Digest, std::vector<std::pair<SessionId, SwarmTag>>> list_waiters_;
};

}  // namespace waggle::transfer
