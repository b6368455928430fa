use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::Organization;
use gantry_domain::role::Role;
use mongodb::bson::{Bson, Document, RawDocument, doc};

use super::super::document::bad;
use super::super::schema::BY_MEMBER;
use super::super::{Core, Mongo, names};
use super::{Stored, readable};
use crate::kept::Kept;
use crate::{Changed, OrganizationStore, Result, StoreError};

/// The members beside the record: an organization is found by them, and a role is read without all the others.
pub(super) fn members(organization: &Organization) -> Document {
    let member = |member: &gantry_domain::identity::Member| -> Bson {
        doc! { "user": member.user.to_string(), "role": member.role.as_str() }.into()
    };
    let members: Vec<_> = organization.members().iter().map(member).collect();
    doc! { "members": members }
}

fn role_in(document: &RawDocument) -> Result<Option<Role>> {
    let Ok(members) = document.get_array("members") else { return Ok(None) };
    let Some(member) = members.into_iter().next() else { return Ok(None) };
    let member =
        member.ok().and_then(|member| member.as_document()).ok_or_else(|| bad(document, "members"))?;
    let role = member.get_str("role").ok().and_then(Role::parse);
    role.map(Some).ok_or_else(|| bad(document, "members"))
}

impl Core {
    pub async fn role_of(&self, id: OrganizationId, user: UserId) -> Result<Option<Role>> {
        let organizations = self.raw(names::ORGANIZATIONS);
        let only = doc! { "members": { "$elemMatch": { "user": user.to_string() } } };
        let found = self.call().run(|| async {
            organizations.find_one(doc! { "_id": id.to_string() }).projection(only.clone()).await
        });
        found.await?.map_or(Ok(None), |found| role_in(&found))
    }
}

#[async_trait]
impl OrganizationStore for Mongo {
    async fn found(&self, organization: &Organization) -> Result<()> {
        if self.core.add_kept(organization).await? {
            return Ok(());
        }
        match OrganizationStore::get(self, organization.id).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::Unavailable("the organization was not stored".to_owned())),
        }
    }

    async fn get(&self, id: OrganizationId) -> Result<Option<Organization>> {
        self.core.find_kept(doc! { "_id": id.to_string() }).await
    }

    async fn update(&self, next: &Organization) -> Result<Changed<Organization>> {
        self.core.swap_kept(next).await
    }

    async fn role(&self, id: OrganizationId, user: UserId) -> Result<Option<Role>> {
        self.core.role_of(id, user).await
    }

    async fn of_user(&self, user: UserId) -> Result<Vec<Organization>> {
        let organizations = self.core.raw(names::ORGANIZATIONS);
        let filter = doc! { "members.user": user.to_string() };
        let query = || async { organizations.find(filter.clone()).hint(BY_MEMBER.hint()).await };
        let found = self.core.call().all(query, |_| false).await?;
        let mut found = readable(Organization::KIND, &found, Organization::of_document)?;
        found.sort_by_key(|organization| organization.id);
        Ok(found)
    }
}
