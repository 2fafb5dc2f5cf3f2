"""The platform's own Python SDK against the simulator.

Nothing of the SDK is changed but the address that it calls.
"""

import base64
import datetime

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException

from simulator import Simulator, acw


def refused(status, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == status, (status, error.status, error.body)
        return error
    raise AssertionError(f"{call.__name__} was not refused with {status}")


def topics(*conversations):
    out = []
    for conversation in conversations:
        topic = sdk.ChannelTopic()
        topic.id = acw(conversation)
        out.append(topic)
    return out


def assertion(organisation):
    now = datetime.datetime.now(datetime.timezone.utc)
    begin = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    end = (now + datetime.timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = f"""<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r" Version="2.0" IssueInstant="{begin}">
<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a" Version="2.0" IssueInstant="{begin}">
<Issuer>trial</Issuer><Subject><NameID>agent@example.com</NameID>
<SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><SubjectConfirmationData NotOnOrAfter="{end}"/></SubjectConfirmation></Subject>
<Conditions NotBefore="{begin}" NotOnOrAfter="{end}"/>
<AttributeStatement><Attribute Name="email"><AttributeValue>agent@example.com</AttributeValue></Attribute>
<Attribute Name="OrganizationName"><AttributeValue>{organisation}</AttributeValue></Attribute></AttributeStatement>
</Assertion></samlp:Response>"""
    return base64.b64encode(document.encode()).decode()


def main():
    with Simulator("analytics-latency-seconds=0") as simulator:
        sdk.configuration.host = simulator.api_url

        bad = sdk.api_client.ApiClient()
        refused(401, bad.get_client_credentials_token, simulator.client_id, "wrong")

        client = sdk.api_client.ApiClient().get_client_credentials_token(
            simulator.client_id, simulator.client_secret
        )
        tokens = sdk.TokensApi(client)
        assert tokens.get_tokens_me().organization.name == simulator.org_name
        assert tokens.get_tokens_timeout().enable_idle_token_timeout is False

        notifications = sdk.NotificationsApi(client)
        channel = notifications.post_notifications_channels()
        assert channel.connect_uri.endswith(channel.id)
        left = channel.expires - datetime.datetime.now(channel.expires.tzinfo)
        assert datetime.timedelta(hours=23) < left < datetime.timedelta(hours=25)
        assert [c.id for c in notifications.get_notifications_channels().entities] == [channel.id]
        notifications.head_notifications_channel(channel.id)
        refused(404, notifications.head_notifications_channel, "nobody")

        one, two = simulator.start(media="voice"), simulator.start(media="email", agents=2)
        added = notifications.post_notifications_channel_subscriptions(channel.id, topics(one))
        assert [t.state for t in added.entities] == ["Permitted"]
        notifications.put_notifications_channel_subscriptions(channel.id, topics(two))
        listed = notifications.get_notifications_channel_subscriptions(channel.id)
        assert [t.id for t in listed.entities] == [acw(two)]
        simulator.fault("refuse-topics", pattern=one)
        error = refused(
            403, notifications.post_notifications_channel_subscriptions, channel.id, topics(one)
        )
        assert "notification.unauthorized.topic" in error.body
        mixed = notifications.post_notifications_channel_subscriptions(
            channel.id, topics(one, two), ignore_errors=True
        )
        assert [t.state for t in mixed.entities] == ["Rejected", "Permitted"]
        notifications.delete_notifications_channel_subscriptions(channel.id)
        listed = notifications.get_notifications_channel_subscriptions(channel.id)
        assert listed.entities == []
        catalogue = notifications.get_notifications_availabletopics(
            expand=["requiresPermissions", "transports"]
        )
        assert any(t.id.endswith(".acw") and t.requires_permissions for t in catalogue.entities)

        conversations = sdk.ConversationsApi(client)
        assert conversations.get_conversations().entities == []
        assert conversations.get_conversation(one).end_time is None
        simulator.act(one, "end")
        pending = conversations.get_conversation(one).participants[-1]
        assert pending.calls[0].after_call_work.state == "pending"
        simulator.act(one, "wrap-up", code="A", notes="from the trial")
        simulator.act(two, "finish")
        done = conversations.get_conversation(one)
        agent = done.participants[-1]
        assert agent.purpose == "agent" and done.end_time is not None
        assert agent.wrapup.notes == "from the trial"
        assert agent.calls[0].after_call_work.state == "complete"
        assert agent.end_acw_time >= agent.start_acw_time
        wrapup = conversations.get_conversation_participant_wrapup(one, agent.id)
        assert wrapup.code == "A"
        wrapup = conversations.get_conversations_call_participant_communication_wrapup(
            one, agent.id, agent.calls[0].id
        )
        assert wrapup.code == "A"
        assert len(conversations.get_conversation(two).participants[-1].emails) == 1
        refused(404, conversations.get_conversation, "00000000-0000-4000-8000-000000000000")

        analytics = sdk.AnalyticsApi(client)
        details = analytics.get_analytics_conversations_details(id=[one, two]).conversations
        assert [c.conversation_id for c in details] == [one, two]
        segment = details[0].participants[-1].sessions[0].segments[-1]
        assert (segment.segment_type, segment.wrap_up_code) == ("wrapup", "A")
        single = analytics.get_analytics_conversation_details(two)
        assert len([p for p in single.participants if p.purpose == "agent"]) == 2
        query = sdk.ConversationQuery()
        day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
        query.interval = f"{day}T00:00:00Z/{day}T23:59:59Z"
        query.order_by = "conversationStart"
        found = analytics.post_analytics_conversations_details_query(query)
        assert found.total_hits == 2 and len(found.conversations) == 2

        bearer = sdk.api_client.ApiClient().get_saml2bearer_token(
            simulator.client_id,
            simulator.client_secret,
            simulator.org_name,
            assertion(simulator.org_name),
        )
        told = sdk.TokensApi(bearer).get_tokens_me()
        assert told.o_auth_client.authorized_grant_type == "SAML2-BEARER"

        tokens.delete_tokens_me()
        refused(401, tokens.get_tokens_me)
    print("platform SDK: passed")


main()
