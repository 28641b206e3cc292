"""Django REST Framework with django-filter, as its documentation has it, in one file."""

import json
import os
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

address = urlsplit(os.environ["DATABASE"])
if address.scheme == "sqlite":
    database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": address.path[1:]}
else:
    socket = parse_qs(address.query)["host"][0]
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.path[1:],
        "HOST": socket,
        "USER": "postgres",
    }
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {**database, "CONN_MAX_AGE": None}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django_filters", "rest_framework"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    SECRET_KEY="of a benchmark",  # noqa: S106
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
        "PAGE_SIZE": 100,
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django_filters import rest_framework as filters  # noqa: E402
from rest_framework import mixins, routers, serializers, viewsets  # noqa: E402
from rest_framework.decorators import action  # noqa: E402
from rest_framework.filters import SearchFilter  # noqa: E402
from rest_framework.response import Response  # noqa: E402


class Plan(models.Model):
    slug = models.TextField(unique=True)
    title = models.TextField()
    municipality_code = models.TextField()
    municipality = models.TextField()

    class Meta:
        app_label, managed, db_table = "bench", False, "plan"


class Section(models.Model):
    plan = models.ForeignKey(Plan, models.CASCADE)
    code = models.TextField()

    class Meta:
        app_label, managed, db_table = "bench", False, "section"


class Measure(models.Model):
    plan = models.ForeignKey(Plan, models.CASCADE)
    section = models.ForeignKey(Section, models.CASCADE)
    code = models.TextField()
    path = models.TextField()
    title = models.TextField()
    position = models.IntegerField()
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label, managed, db_table = "bench", False, "measure"


class Evaluation(models.Model):
    measure = models.ForeignKey(Measure, models.CASCADE, related_name="evaluations")
    fiscal_year = models.IntegerField()
    ordinal = models.IntegerField(default=1)
    implementation = models.TextField(null=True)
    rating = models.TextField(null=True)
    rationale = models.TextField(null=True)
    next_plan = models.TextField(null=True)
    department = models.TextField(null=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label, managed, db_table = "bench", False, "evaluation"


KEPT = ["version", "created_at", "updated_at"]
TEXTS = ["implementation", "rating", "rationale", "next_plan", "department"]


class MeasureSerializer(serializers.ModelSerializer):
    plan = serializers.CharField(source="plan.slug")
    municipality_code = serializers.CharField(source="plan.municipality_code")
    section = serializers.CharField(source="section.code")
    path = serializers.SerializerMethodField()

    class Meta:
        model = Measure
        fields: ClassVar = [
            "id",
            "plan",
            "municipality_code",
            "section",
            "code",
            "path",
            "title",
            "position",
            *KEPT,
        ]

    def get_path(self, measure: Measure) -> Any:
        return json.loads(measure.path)


class NewEvaluationSerializer(serializers.ModelSerializer):
    class Meta:
        model = Evaluation
        fields: ClassVar = ["id", "measure", "fiscal_year", "ordinal", *TEXTS, *KEPT]
        validators: ClassVar = []


class EvaluationSerializer(NewEvaluationSerializer):
    plan = serializers.CharField(source="measure.plan.slug", read_only=True)
    municipality_code = serializers.CharField(source="measure.plan.municipality_code", read_only=True)
    section = serializers.CharField(source="measure.section.code", read_only=True)
    measure_code = serializers.CharField(source="measure.code", read_only=True)
    measure_title = serializers.CharField(source="measure.title", read_only=True)

    class Meta(NewEvaluationSerializer.Meta):
        fields: ClassVar = [
            *("id", "plan", "municipality_code", "section", "measure", "measure_code", "measure_title"),
            *("fiscal_year", "ordinal", *TEXTS, *KEPT),
        ]


class MeasureWithEvaluationsSerializer(MeasureSerializer):
    evaluations = NewEvaluationSerializer(many=True)

    class Meta(MeasureSerializer.Meta):
        fields: ClassVar = [*MeasureSerializer.Meta.fields, "evaluations"]


class Ratings(filters.BaseInFilter, filters.CharFilter):
    pass


class MeasureFilter(filters.FilterSet):
    section = filters.CharFilter(field_name="section__code")
    rating = Ratings(method="rated")

    def rated(self, measures: models.QuerySet, name: str, codes: list[str]) -> models.QuerySet:
        rows = Evaluation.objects.filter(measure=models.OuterRef("pk"), rating__in=codes)
        return measures.filter(models.Exists(rows))


class EvaluationFilter(filters.FilterSet):
    fiscal_year = filters.NumberFilter()
    plan = filters.CharFilter(field_name="measure__plan__slug")
    section = filters.CharFilter(field_name="measure__section__code")
    rating = Ratings(field_name="rating", lookup_expr="in")


class MeasureViewSet(viewsets.ReadOnlyModelViewSet):
    queryset = Measure.objects.select_related("plan", "section").order_by("id")
    serializer_class = MeasureSerializer
    filterset_class = MeasureFilter

    def get_serializer_class(self) -> type[serializers.Serializer]:
        return MeasureWithEvaluationsSerializer if self.action == "retrieve" else MeasureSerializer

    def get_queryset(self) -> models.QuerySet:
        found = super().get_queryset()
        return found.prefetch_related("evaluations") if self.action == "retrieve" else found


class EvaluationViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet):
    queryset = Evaluation.objects.select_related("measure__plan", "measure__section").order_by("id")
    filterset_class = EvaluationFilter
    filter_backends: ClassVar = [filters.DjangoFilterBackend, SearchFilter]
    search_fields: ClassVar = ["implementation", "rationale", "next_plan", "measure__title"]

    def get_serializer_class(self) -> type[serializers.Serializer]:
        return NewEvaluationSerializer if self.action == "create" else EvaluationSerializer

    @action(detail=False, pagination_class=None)
    def summary(self, request: Any) -> Response:
        columns = {
            "plan": "measure__plan__slug",
            "section": "measure__section__code",
            "fiscal_year": "fiscal_year",
        }
        groups = [columns[name] for name in request.query_params["group_by"].split(",")]
        found = self.filter_queryset(Evaluation.objects.order_by(*groups, "rating"))
        return Response(found.values(*groups, "rating").annotate(count=models.Count("id")))


router = routers.SimpleRouter(trailing_slash=False)
router.register("measures", MeasureViewSet)
router.register("evaluations", EvaluationViewSet)
urlpatterns = router.urls
app = get_wsgi_application()
