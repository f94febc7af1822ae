//! Owns users over gRPC, as official clients ask.

use forebay_access::{Access, Caller, Need, NewUser, Password, User};
use forebay_wire::event_store::client::users::details_resp::UserDetails;
use forebay_wire::event_store::client::users::details_resp::user_details::DateTime;
use forebay_wire::event_store::client::users::users_server::Users;
use forebay_wire::event_store::client::users::{
    ChangePasswordReq, ChangePasswordResp, CreateReq, CreateResp, DeleteReq, DeleteResp, DetailsReq, DetailsResp,
    DisableReq, DisableResp, EnableReq, EnableResp, ResetPasswordReq, ResetPasswordResp, UpdateReq, UpdateResp,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use crate::status::grpc::{access_denied, invalid, of_user};

/// Manages users.
#[derive(Clone)]
pub(crate) struct UsersService {
    access: Access,
}

impl UsersService {
    /// Manages the users of these decisions.
    pub(crate) fn new(access: Access) -> Self {
        Self { access }
    }

    fn caller<T>(&self, request: &Request<T>) -> Caller {
        request.extensions().get::<Caller>().cloned().unwrap_or_else(|| self.access.unknown())
    }

    fn admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.access.check(&self.caller(request), Need::Admin).map_err(|_| access_denied())
    }

    fn own<T>(&self, request: &Request<T>, login: &str) -> Result<(), Status> {
        self.access.check_self(&self.caller(request), login).map_err(|_| access_denied())
    }
}

#[tonic::async_trait]
impl Users for UsersService {
    type DetailsStream = BoxStream<'static, Result<DetailsResp, Status>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let password = password(options.password)?;
        let new = NewUser { login: options.login_name, full_name: options.full_name, groups: options.groups, password };
        self.access.users().create(new).await.map_err(of_user)?;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let users = self.access.users();
        users.update(&options.login_name, options.full_name, options.groups).await.map_err(of_user)?;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        self.access.users().delete(&options.login_name).await.map_err(of_user)?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn disable(&self, request: Request<DisableReq>) -> Result<Response<DisableResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        self.access.users().set_disabled(&options.login_name, true).await.map_err(of_user)?;
        Ok(Response::new(DisableResp {}))
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        self.access.users().set_disabled(&options.login_name, false).await.map_err(of_user)?;
        Ok(Response::new(EnableResp {}))
    }

    async fn details(&self, request: Request<DetailsReq>) -> Result<Response<Self::DetailsStream>, Status> {
        let asked = request.get_ref().options.as_ref().map(|options| options.login_name.clone());
        let users = match asked.filter(|login| !login.is_empty()) {
            Some(login) => {
                self.own(&request, &login)?;
                vec![self.access.users().details(&login).await.map_err(of_user)?]
            }
            None => {
                self.admin(&request)?;
                self.access.users().list().await.map_err(of_user)?
            }
        };
        Ok(Response::new(stream::iter(users).map(|user| Ok(details_of(user))).boxed()))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordReq>,
    ) -> Result<Response<ChangePasswordResp>, Status> {
        let caller = self.caller(&request);
        let options = request.into_inner().options.ok_or_else(no_options)?;
        self.access.check_self(&caller, &options.login_name).map_err(|_| access_denied())?;
        let (current, new) = (password(options.current_password)?, password(options.new_password)?);
        self.access.users().change_password(&options.login_name, current, new).await.map_err(of_user)?;
        Ok(Response::new(ChangePasswordResp {}))
    }

    async fn reset_password(&self, request: Request<ResetPasswordReq>) -> Result<Response<ResetPasswordResp>, Status> {
        self.admin(&request)?;
        let options = request.into_inner().options.ok_or_else(no_options)?;
        let new = password(options.new_password)?;
        self.access.users().reset_password(&options.login_name, new).await.map_err(of_user)?;
        Ok(Response::new(ResetPasswordResp {}))
    }
}

fn details_of(user: User) -> DetailsResp {
    let ticks_since_epoch = i64::try_from(user.updated.ticks()).unwrap_or(i64::MAX);
    let details = UserDetails {
        login_name: user.login,
        full_name: user.full_name,
        groups: user.groups,
        last_updated: Some(DateTime { ticks_since_epoch }),
        disabled: user.disabled,
    };
    DetailsResp { user_details: Some(details) }
}

fn password(text: String) -> Result<Password, Status> {
    Password::new(text).ok_or_else(|| invalid("the password is not valid: expected 1 to 1024 bytes"))
}

fn no_options() -> Status {
    invalid("the request has no options")
}
