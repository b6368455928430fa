//! A private bridge per slot, made once and kept: making one per run costs more than starting the container.
//!
//! Bridges are named `gantry-…` so that a firewall rule on `gantry-+` covers them all; subnets are explicit because the
//! engine's own address pools end after some thirty networks.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::sync::Mutex;

use super::engine::{Engine, EngineFailure};
use super::labels;
use super::options::NetworkOptions;
use super::subnet::{Subnet, candidates};
use crate::{ExecutorError, Owner};

/// Bridge names are interface names: at most 15 characters.
const MAX_SLOTS: u32 = 0x1000;

/// The networks of this worker's slots.
pub(super) struct Networks {
    options: NetworkOptions,
    owner: Owner,
    /// Slots whose network is known to exist. Held while one is made, so that two slots never race for a subnet.
    ready: Mutex<HashSet<u32>>,
}

impl Networks {
    pub fn new(options: NetworkOptions, owner: Owner) -> Arc<Self> {
        Arc::new(Self { options, owner, ready: Mutex::new(HashSet::new()) })
    }

    /// Takes over what is left of this worker's networks and removes idle ones of its installation's other workers; one that
    /// still lives makes its networks again when it needs them.
    pub async fn adopt(&self, engine: &Engine) -> Result<(), ExecutorError> {
        if self.options == NetworkOptions::None {
            return Ok(());
        }
        let mut ready = self.ready.lock().await;
        for network in self.ours(engine).await? {
            let labels = network.labels.unwrap_or_default();
            let Some(name) = network.name else { continue };
            let mine = labels.get(labels::WORKER) == Some(&self.owner.worker.to_string());
            let slot = labels.get(labels::SLOT).and_then(|slot| slot.parse().ok());
            if let (true, Some(slot)) = (mine, slot) {
                ready.insert(slot);
            } else if !mine {
                remove(engine, &name).await;
            }
        }
        Ok(())
    }

    /// The network of a slot, made when it is not there. Returns what a container's `NetworkMode` names.
    pub async fn of_slot(&self, engine: &Engine, slot: u32) -> Result<String, ExecutorError> {
        let NetworkOptions::PerSlot { range, prefix } = self.options else { return Ok("none".to_owned()) };
        if slot >= MAX_SLOTS {
            return Err(ExecutorError::Unsupported(format!("slot {slot}: a worker has at most {MAX_SLOTS}")));
        }
        let name = self.name(slot);
        let mut ready = self.ready.lock().await;
        if !ready.contains(&slot) {
            self.make(engine, &name, slot, (range, prefix)).await?;
            ready.insert(slot);
        }
        Ok(name)
    }

    /// Forgets a network that turned out to be gone; the next [`Self::of_slot`] makes it again.
    pub async fn forget(&self, slot: u32) {
        self.ready.lock().await.remove(&slot);
    }

    /// Removes this worker's networks.
    pub async fn close(&self, engine: &Engine) -> Result<(), ExecutorError> {
        if self.options == NetworkOptions::None {
            return Ok(());
        }
        let mut ready = self.ready.lock().await;
        ready.clear();
        let worker = self.owner.worker.to_string();
        for network in self.ours(engine).await? {
            if network.labels.as_ref().and_then(|labels| labels.get(labels::WORKER)) == Some(&worker)
                && let Some(name) = network.name
            {
                remove(engine, &name).await;
            }
        }
        Ok(())
    }

    async fn ours(&self, engine: &Engine) -> Result<Vec<bollard::models::Network>, ExecutorError> {
        let filter =
            ListNetworksOptionsBuilder::default().filters(&labels::installation_filter(self.owner)).build();
        engine
            .lookup("list networks", engine.docker.list_networks(Some(filter)))
            .await
            .map_err(EngineFailure::infrastructure)
    }

    async fn make(
        &self,
        engine: &Engine,
        name: &str,
        slot: u32,
        range: (Ipv4Addr, u8),
    ) -> Result<(), ExecutorError> {
        let mut refusal = None;
        for subnet in candidates(range, &subnets_in_use(engine).await?) {
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".to_owned()),
                attachable: Some(false),
                enable_ipv6: Some(false),
                ipam: Some(Ipam {
                    config: Some(vec![IpamConfig { subnet: Some(subnet.to_string()), ..Default::default() }]),
                    ..Default::default()
                }),
                options: Some(HashMap::from([(
                    "com.docker.network.bridge.name".to_owned(),
                    name.to_owned(),
                )])),
                labels: Some(labels::of_network(self.owner, slot)),
                ..Default::default()
            };
            match engine.create("create a network", engine.docker.create_network(request)).await {
                Ok(_) => return Ok(()),
                // It is there already: newer engines say so, older ones complain about the bridge.
                Err(failure) if failure.is(409) => return Ok(()),
                Err(failure) if failure.is(403) || failure.is(400) => {
                    let inspect = engine.docker.inspect_network(name, None);
                    if engine.lookup("look for a network", inspect).await.is_ok() {
                        return Ok(());
                    }
                    // Somebody else took this subnet meanwhile.
                    refusal = Some(failure);
                }
                Err(failure) => return Err(failure.infrastructure()),
            }
        }
        Err(refusal.map_or_else(
            || {
                ExecutorError::Infrastructure(format!(
                    "no free /28 is left in {}/{}: give Gantry another range for its networks",
                    range.0, range.1
                ))
            },
            EngineFailure::infrastructure,
        ))
    }

    /// `gantry-`, five characters of the worker and three of the slot: an interface name, and the network's as well.
    fn name(&self, slot: u32) -> String {
        let worker = self.owner.worker.to_string().to_ascii_lowercase();
        let tail = &worker[worker.len() - 5..];
        format!("gantry-{tail}{slot:03x}")
    }
}

async fn remove(engine: &Engine, name: &str) {
    match engine.create("remove a network", engine.docker.remove_network(name)).await {
        Ok(()) => {}
        // In use by a container (403, 409), or gone.
        Err(failure) if [403, 404, 409].iter().any(|&status| failure.is(status)) => {}
        Err(failure) => {
            tracing::warn!(network = name, error = %failure.message, "a network could not be removed")
        }
    }
}

async fn subnets_in_use(engine: &Engine) -> Result<Vec<Subnet>, ExecutorError> {
    let networks = engine
        .lookup("list networks", engine.docker.list_networks(None))
        .await
        .map_err(EngineFailure::infrastructure)?;
    let mut used: Vec<Subnet> = networks
        .into_iter()
        .filter_map(|network| network.ipam?.config)
        .flatten()
        .filter_map(|config| config.subnet?.parse().ok())
        .collect();
    // An engine on this host shares its routes; a network over one of them would cut the host off from it.
    if engine.host.starts_with("unix://")
        && let Ok(table) = tokio::fs::read_to_string("/proc/net/route").await
    {
        used.extend(super::subnet::routes(&table));
    }
    Ok(used)
}
