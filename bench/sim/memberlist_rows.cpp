// sim_memberlist_model: the rows of sim_gossip that memberlist's parameters have an answer to, from
// memberlist_model.hpp.
#include "sim/memberlist_model.hpp"
#include "sim/row.hpp"

#include <algorithm>

namespace {

using namespace waggle;
using namespace std::chrono_literals;

constexpr std::size_t broadcast_bytes = 64;
constexpr Duration step = 1ms;

void broadcast_row(const bench::SimOptions& options, std::size_t nodes) {
  bench::MemberlistModel model({.nodes = nodes, .seed = options.seed});
  std::vector<double> most, last;
  std::size_t unfinished = 0;
  for (std::size_t i = 0; i < (options.is_long ? 60U : 30U); ++i) {
    model.run_for(1s + std::chrono::milliseconds(model.choices().below(1000)));
    const auto origin = static_cast<std::uint32_t>(model.choices().below(nodes));
    const std::uint32_t message = model.broadcast(origin, broadcast_bytes);
    const TimePoint begun = model.now();
    bool is_most = false;
    while (model.reached(message) < nodes && model.now() - begun < 30s) {
      model.run_for(step);
      if (is_most || (model.reached(message) - 1) * 100 < (nodes - 1) * 99) continue;
      is_most = true;
      most.push_back(to_seconds(model.now() - begun) * 1000);
    }
    if (model.reached(message) < nodes) {
      ++unfinished;
    } else {
      last.push_back(to_seconds(model.now() - begun) * 1000);
    }
  }
  const nlohmann::ordered_json params = {{"nodes", nodes}, {"loss", 0.01}, {"seed", options.seed}};
  bench::print({"sim/memberlist_model/broadcast_to_99_percent", params, bench::quantile(most, 0.99),
                "ms (p99)", std::nullopt, bench::spread_of(most, 1)});
  nlohmann::ordered_json spread = bench::spread_of(last, 1);
  spread["never_complete"] = unfinished;
  bench::print({"sim/memberlist_model/broadcast_to_last_node", params, bench::quantile(last, 1),
                "ms (max)", std::nullopt, spread});
}

void wait_until_gone(bench::MemberlistModel& model, const std::vector<std::uint32_t>& victims,
                     std::vector<double>& lasts, std::size_t& unseen) {
  for (const std::uint32_t victim : victims) model.kill(victim);
  const TimePoint died = model.now();
  std::vector<std::uint32_t> waiting = victims;
  while (!waiting.empty() && model.now() - died < 180s) {
    model.run_for(20ms);
    std::erase_if(waiting, [&](std::uint32_t victim) {
      if (model.gone_from(victim) < model.up_count()) return false;
      lasts.push_back(to_seconds(model.now() - died));
      return true;
    });
  }
  unseen += waiting.size();
}

void print_deaths(std::vector<double>& lasts, std::size_t unseen, const char* what,
                  const bench::SimOptions& options, std::size_t nodes) {
  nlohmann::ordered_json spread = bench::spread_of(lasts, 2);
  spread["not_seen_by_all"] = unseen;
  bench::print({"sim/memberlist_model/failure_seen_by_all",
                {{"nodes", nodes}, {"killed", what}, {"loss", 0.01}, {"seed", options.seed}},
                bench::quantile(lasts, 0.99),
                "s (p99)",
                std::nullopt,
                spread});
}

void failure_row(const bench::SimOptions& options, std::size_t nodes) {
  bench::MemberlistModel model({.nodes = nodes, .seed = options.seed});
  model.run_for(5s);
  std::vector<std::uint32_t> order(nodes);
  for (std::uint32_t i = 0; i < nodes; ++i) order[i] = i;
  model.choices().shuffle(std::span(order));
  const std::size_t singles = options.is_long ? 30 : 10;
  std::vector<double> lasts;
  std::size_t unseen = 0;
  for (std::size_t i = 0; i < std::min(singles, nodes / 4); ++i) {
    wait_until_gone(model, {order[i]}, lasts, unseen);
    model.run_for(std::chrono::milliseconds(model.choices().below(2000)));
  }
  print_deaths(lasts, unseen, "one at a time", options, nodes);
  lasts.clear();
  unseen = 0;
  const auto first = order.end() - static_cast<std::ptrdiff_t>(nodes / 10);
  wait_until_gone(model, {first, order.end()}, lasts, unseen);
  print_deaths(lasts, unseen, "a tenth at once", options, nodes);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::SimOptions options = bench::sim_options(argc, argv, {"broadcast", "failure"});
  const auto wanted = [&](const char* row) {
    return options.rows.empty() ||
           std::find(options.rows.begin(), options.rows.end(), row) != options.rows.end();
  };
  for (const std::size_t nodes : options.nodes) {
    bench::restart_wall_clock();
    if (wanted("broadcast")) broadcast_row(options, nodes);
    if (wanted("failure")) failure_row(options, nodes);
  }
  return 0;
}
