from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.urls import path


def page(request):
    """Write a row and say how many there are."""
    Group.objects.create(name=f"group-{Group.objects.count()}")
    return HttpResponse(f"django: {Group.objects.count()} rows\n")


urlpatterns = [path("", page)]
