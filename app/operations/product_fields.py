"""What clients say of a product, as `catalog.rows.products.ProductFields`: asked, answered, shown.

The operations on products and the search take models, codes and examples from here, so that a
field of a product is declared once.
"""

from __future__ import annotations

from app.http.fields import Category, CollectionName, Identifier, ProductName, RequestModel
from app.operations.answers import AnswerModel
from contract import errors

#: Codes of invalid fields, in the order in which the fields are checked.
FIELD_FAULTS = (
    errors.InvalidProductId,
    errors.InvalidProductName,
    errors.InvalidProductCategory,
)


class NewProductItem(RequestModel):
    """An item of product_list."""

    product_id: Identifier
    product_name: ProductName
    category: Category


class UpdateProductRequest(RequestModel):
    """A call of update_product."""

    collection_name: CollectionName
    product_id: Identifier
    product_name: ProductName | None = None
    category: Category | None = None


class ShownProduct(AnswerModel):
    """A product as lists show it: all of its fields."""

    product_id: str
    product_name: str
    category: str


class FoundProduct(AnswerModel):
    """The product of an image that was found: `catalog.rows.products.FOUND_FIELDS`."""

    product_id: str
    product_name: str


#: The product of the examples, and what update_product changes of it.
EXAMPLE = {"product_id": "boot-1", "product_name": "Hiking boot", "category": "鞋靴"}
CHANGE = {"product_name": "Hiking boot, brown", "category": "其他"}
